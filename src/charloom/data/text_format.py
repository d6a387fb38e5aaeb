"""How texts are read: the options of a corpus (``TextFormat``), and the part that a model keeps (``TextRules``)."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from charloom.errors import CorpusError

NEWLINES = ("keep", "lf")
NORMAL_FORMS = ("none", "nfc")
UNITS = ("char", "byte")
DECODING_ERRORS = ("strict", "replace", "skip")
TABLE_FORMATS = ("auto", "csv", "tsv", "jsonl", "json")
QUOTING = ("auto", "none", "standard")

RECORD_MARK = "\x1e"
"""The character that ends each record in an index (RECORD SEPARATOR); a text that is read as records cannot contain it.
"""
LABEL_MARK = "\x1f"
"""The character between the label and the text of a record (UNIT SEPARATOR)."""

BLANK, FILE = "blank", "file"
"""Values of ``records``: blank lines separate records; each file is a record."""

_KINDS: dict[type, str] = {str: "text", bool: "true or false", tuple: "pairs of a pattern and an encoding"}
_MAX_SEPARATOR = 1_000  # characters
_OLDEST = ("encoding", "newlines", "normalize", "unit", "boundary", "lines", "column")  # always recorded


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
        column: The column of a CSV or TSV file, or the field of JSON objects, to read. Each value becomes a line if
            ``lines`` is set, else a record.
        encodings: Pairs (pattern, encoding) for the files whose path or name matches the glob pattern; they take
            precedence over ``encoding``, and the last matching pair over the earlier ones.
        errors: Treatment of undecodable bytes: "strict" raises an error, "replace" reads each as U+FFFD, "skip" omits
            them.
        records: Whether parts of a file are separate texts of any number of lines: "" (no), "blank" (separated by blank
            lines), "file" (each file is a record), or the line that separates them, such as "%". Newlines are then
            converted to LF.
        label: The column or field with the label of each record. Requires ``column`` without ``lines``.
        table: Format of the files with ``column``: "auto" (by the suffix of the file name, or for standard input by its
            content), "csv", "tsv", "jsonl" or "json".
        delimiter: Delimiter of CSV and TSV files, one character; "" detects it.
        quoting: Whether quotation marks enclose fields: "standard" (as in RFC 4180), "none" (they are ordinary
            characters), or "auto": standard for CSV, none for TSV.

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
    encodings: tuple[tuple[str, str], ...] = ()
    errors: str = "strict"
    records: str = ""
    label: str | None = None
    table: str = "auto"
    delimiter: str = ""
    quoting: str = "auto"

    def __post_init__(self) -> None:
        for item in fields(self):
            kinds = (str, type(None)) if item.name in ("column", "label") else (type(item.default),)
            if not isinstance(getattr(self, item.name), kinds):
                raise self._invalid(item.name, f"must be {_KINDS[kinds[0]]}")
        for name, accepted in _CHOICES.items():
            if getattr(self, name) not in accepted:
                value = getattr(self, name)
                raise CorpusError(
                    f"{name} must be one of {', '.join(accepted)}, got {value!r}.",
                    code="invalid_setting",
                    name=name,
                    value=value,
                    accepted=list(accepted),
                )
        self._check_values()
        if self.unit == "byte":
            self._check_bytes()
        if self.label is not None and (self.column is None or self.lines):
            raise CorpusError(
                "--label requires --column without --lines: it names the column with the label of each record.",
                code="missing_option",
                option="--column",
                required_by="--label",
            )
        for name in ("table", "delimiter", "quoting"):
            if getattr(self, name) != _DEFAULTS[name] and self.column is None:
                raise CorpusError(
                    f"--{name} requires --column, which selects the column of the table to read.",
                    code="missing_option",
                    option="--column",
                    required_by=f"--{name}",
                )
        for first, second, reason in _CONFLICTS:
            if getattr(self, first) and getattr(self, second):
                raise CorpusError(
                    f"--{first} cannot be combined with --{second}: {reason}.",
                    code="conflicting_options",
                    options=[f"--{first}", f"--{second}"],
                )

    def _check_values(self) -> None:
        if not all(
            isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(part, str) for part in pair)
            for pair in self.encodings
        ):
            raise self._invalid("encodings", f"must be {_KINDS[tuple]}")
        if len(self.delimiter) > 1 or self.delimiter in ("\n", "\r", '"'):
            raise self._invalid("delimiter", "must be one character, and not a quotation mark or a line ending")
        if self.records and (not self.records.isprintable() or not self.records.strip()):
            raise self._invalid("records", "must be the printable characters of one line")
        if len(self.records) > _MAX_SEPARATOR:
            raise self._invalid("records", f"must have at most {_MAX_SEPARATOR:,} characters")

    def _invalid(self, name: str, requirement: str) -> CorpusError:
        value = getattr(self, name)
        return CorpusError(f"{name} {requirement}, got {value!r}.", code="invalid_setting", name=name, value=str(value))

    def _check_bytes(self) -> None:
        for name in ("encoding", "newlines", "normalize", "lines", "column", "encodings", "errors", "records", "label"):
            if getattr(self, name) != _DEFAULTS[name]:
                option = "encoding" if name == "encodings" else name
                raise CorpusError(
                    f"--{option} cannot be combined with --unit byte, which reads files unchanged.",
                    code="conflicting_options",
                    options=["--unit", f"--{option}"],
                )

    @property
    def is_records(self) -> bool:
        """Whether the parts of the text are records: separate texts of any number of lines."""
        return bool(self.records) or (self.column is not None and not self.lines)

    @property
    def mark(self) -> str | None:
        """The character that ends each separate text in the index: a line feed, ``RECORD_MARK``, or None."""
        if self.lines:
            return "\n"
        return RECORD_MARK if self.is_records else None

    def rules(self, labels: Mapping[str, int] | None = None) -> "TextRules":
        """Return the rules for a model that is trained on a text of this format.

        Args:
            labels: The number of training records with each label.
        """
        return TextRules(
            newlines="keep" if self.mark is not None else self.newlines,
            normalize=self.normalize,
            lines=self.lines,
            records=self.records if self.is_records else None,
            labels=dict(labels or {}),
        )

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> "TextFormat":
        """Create a format from the result of ``to_dict``; missing keys get their defaults."""
        values = {item.name: saved[item.name] for item in fields(cls) if item.name in saved}
        if isinstance(values.get("encodings"), list):
            values["encodings"] = tuple(tuple(pair) if isinstance(pair, list) else pair for pair in values["encodings"])
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON data; the fields added after version 1 only if they differ from their defaults."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values["encodings"] = [list(pair) for pair in self.encodings]
        return {
            name: value for name, value in values.items() if name in _OLDEST or getattr(self, name) != _DEFAULTS[name]
        }


@dataclass(frozen=True)
class TextRules:
    """How a model expects its texts, derived from the format of its training text and stored in the model file.

    Attributes:
        newlines: "keep", or "lf" if CR LF and lone CR are converted to LF, as they always are for lines and records.
        normalize: "none", or "nfc" for Unicode normalization form C.
        lines: Whether each line is a separate text.
        records: None, or if records are separate texts: "blank", "file", the line that separated them, or "" if they
            were the values of a table's column.
        labels: The number of training records with each label; empty if the records have no labels.
    """

    newlines: str = "keep"
    normalize: str = "none"
    lines: bool = False
    records: str | None = None
    labels: Mapping[str, int] = field(default_factory=dict)

    @property
    def mark(self) -> str | None:
        """The character before which the state is reset, and that ends a separate text; None for a continuous text."""
        if self.lines:
            return "\n"
        return None if self.records is None else RECORD_MARK

    @property
    def separator(self) -> str:
        """The text between two records in readable output."""
        named = self.records not in (None, "", BLANK, FILE)
        return f"\n{self.records}\n" if named else "\n\n"

    def prepare(self, text: str) -> str:
        """Return a prompt or a text to be scored with the newlines and normal form of the training text."""
        if "\r" in text and (self.newlines == "lf" or self.mark is not None):
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        return unicodedata.normalize("NFC", text) if self.normalize == "nfc" else text

    def displayed(self, text: str) -> str:
        """Return a text of several records with readable separators instead of ``RECORD_MARK`` and ``LABEL_MARK``."""
        if self.records is None:
            return text
        return text.replace(RECORD_MARK, self.separator).replace(LABEL_MARK, "\n")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults, as JSON data."""
        default = PLAIN_RULES
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values["labels"] = dict(self.labels)
        return {name: value for name, value in values.items() if value != getattr(default, name)}


PLAIN_RULES = TextRules()

_CHOICES = {
    "newlines": NEWLINES,
    "normalize": NORMAL_FORMS,
    "unit": UNITS,
    "errors": DECODING_ERRORS,
    "table": TABLE_FORMATS,
    "quoting": QUOTING,
}
_CONFLICTS = (
    ("boundary", "lines", "it separates joined files, and lines are separate texts"),
    ("boundary", "records", "it separates joined files, and records are separate texts"),
    ("boundary", "column", "it separates joined files, and the values of a column are separate texts"),
    ("lines", "records", "a line is a record of one line"),
    ("records", "column", "each value of the column is a record"),
)

_DEFAULTS = {item.name: item.default for item in fields(TextFormat)}

PLAIN = TextFormat()
