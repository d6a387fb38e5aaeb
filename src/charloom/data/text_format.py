"""Options for reading files as text: encoding, newlines, Unicode normalization, unit, and separate lines."""

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
        encoding: Encoding of the files; named corpora are always UTF-8.
        newlines: "keep" leaves newlines unchanged; "lf" converts CR LF and lone CR to LF.
        normalize: "none", or "nfc" for Unicode normalization form C, which combines letters with their accents.
        unit: "char", or "byte" to read any file as bytes, with a vocabulary of 256.
        boundary: Text inserted between files instead of a newline, from which a model can learn where a text ends.
        lines: Whether each line is a separate text. Newlines are then converted to LF, and empty lines are ignored.
        column: The column of a CSV or TSV file, or the field of JSON Lines objects, to read. Each value becomes a
            line. Requires ``lines``.

    Raises:
        CorpusError: If a value is invalid, or two options conflict.
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
        """Create a format from the result of ``to_dict``; missing keys get their defaults."""
        return cls(**{item.name: saved[item.name] for item in fields(cls) if item.name in saved})

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON data."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


PLAIN = TextFormat()
