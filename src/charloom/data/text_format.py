"""Options for reading files as text: encoding, newlines, normal form, unit, whole text or lines."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from charloom.errors import CorpusError

NEWLINES = ("keep", "lf")
NORMAL_FORMS = ("none", "nfc")
UNITS = ("char", "byte")

_KINDS: dict[type, str] = {str: "text", bool: "true or false"}


@dataclass(frozen=True)
class TextFormat:
    r"""How files are read as text.

    Attributes:
        encoding: Of the files; named corpora are always UTF-8.
        newlines: "keep" them as they are, or turn CR LF and a lone CR into "lf".
        normalize: "none", or "nfc": letters and their accents become one character where there is one.
        unit: "char", or "byte": the text is its bytes, 256 symbols, whatever is in the file.
        boundary: Put between the files instead of a newline, so that a model learns where a text ends.
        lines: Whether every line is a text of its own; line ends are then line feeds, and empty lines are left out.
        column: Of CSV or TSV, or the field of JSON lines, that alone is read; each of its values is a line.

    Raises:
        CorpusError: If a value is none of these, or two do not go together.
    """

    encoding: str = "utf-8"
    newlines: str = "keep"
    normalize: str = "none"
    unit: str = "char"
    boundary: str = ""
    lines: bool = False
    column: str | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            kinds = (str, type(None)) if item.name == "column" else (type(item.default),)
            if not isinstance(getattr(self, item.name), kinds):
                value = getattr(self, item.name)
                raise CorpusError(
                    f"{item.name} must be {_KINDS[kinds[0]]}, got {value!r}.",
                    code="invalid_setting",
                    name=item.name,
                    value=str(value),
                )
        for name, accepted in (("newlines", NEWLINES), ("normalize", NORMAL_FORMS), ("unit", UNITS)):
            if getattr(self, name) not in accepted:
                value = getattr(self, name)
                raise CorpusError(
                    f"{name} must be one of {', '.join(accepted)}, got {value!r}.",
                    code="invalid_setting",
                    name=name,
                    value=value,
                    accepted=list(accepted),
                )
        if self.unit == "byte":
            self._check_bytes()
        if self.column is not None and not self.lines:
            raise CorpusError(
                "--column requires --lines, because each value of the column is a separate text.",
                code="missing_option",
                option="--lines",
                required_by="--column",
            )
        if self.lines and self.boundary:
            raise CorpusError(
                "--boundary cannot be combined with --lines: it separates joined files, and lines are separate texts.",
                code="conflicting_options",
                options=["--boundary", "--lines"],
            )

    def _check_bytes(self) -> None:
        plain = TextFormat(unit="char")
        for name in ("encoding", "newlines", "normalize", "lines", "column"):
            if getattr(self, name) != getattr(plain, name):
                raise CorpusError(
                    f"--{name} cannot be combined with --unit byte, which reads files unchanged.",
                    code="conflicting_options",
                    options=["--unit", f"--{name}"],
                )

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> "TextFormat":
        """Return what ``to_dict`` described; keys that are missing have their defaults."""
        return cls(**{item.name: saved[item.name] for item in fields(cls) if item.name in saved})

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain JSON data."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


PLAIN = TextFormat()
