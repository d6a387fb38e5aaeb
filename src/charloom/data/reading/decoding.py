"""Strict decoding of bytes: undecodable bytes raise an error that suggests the likely encoding."""

import codecs
import threading
import unicodedata
from collections import Counter
from collections.abc import Callable
from glob import escape

from charloom.errors import CorpusError, Notice

_BOMS = (  # longer marks first, because the UTF-32-LE mark begins with the UTF-16-LE mark
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_TYPOGRAPHY = "‘’‚“”„–—…•‹›«»§©®°·€£\u00a0"
_WESTERN = "".join(map(chr, [*range(0xC0, 0xD7), *range(0xD8, 0xF7), *range(0xF8, 0x100)])) + "ŒœŠšŽžŸ¡¿ªº´"
_CENTRAL_EUROPEAN = "ÁÂÄĄĂČĆÇĎÉĚĘËÍÎŁĽĹŇŃÓÔÖŐŔŘŠŚŞŤŢÚŮÜŰÝŽŹŻáâäąăčćçďéěęëíîłľĺňńóôöőŕřšśşťţúůüűýžźżß"
# lower case only: capitals are rare in text, but frequent in text decoded with a wrong encoding
_CYRILLIC = "абвгдеёжзийклмнопрстуфхцчшщъыьэюяіїєґўјљњћђџ№"
_SAMPLE = 1 << 16  # bytes from which the encoding is guessed
_MIN_GOOD = 10  # decodable non-ASCII characters per undecodable place of a file that is only damaged
_MIN_PLAUSIBLE = 0.75  # fraction of plausible non-ASCII characters required to suggest an encoding
_MIN_KANA = 0.2  # fraction of kana among the non-ASCII characters that distinguishes Japanese from Chinese


def decode_utf8(data: bytes, source: str) -> str:
    """Decode the content of a UTF-8 file and remove its byte order mark.

    For files that have no option for their encoding.

    Args:
        data: The content of the file.
        source: The file's name in an error message.

    Raises:
        CorpusError: If the file is not UTF-8; the message states the byte offset and the line.
    """
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise undecodable_error(data, source, "utf-8", error, can_choose=False) from None


def check_encoding(encoding: str) -> None:
    """Raise ``CorpusError`` unless Python supports this text encoding."""
    try:
        "".encode(encoding)
    except (LookupError, ValueError):
        raise CorpusError(
            f"Unknown encoding {encoding!r}. Use an encoding that Python supports, such as utf-8, utf-16, cp1252, "
            "latin-1, gb18030 or shift_jis.",
            code="unknown_encoding",
            encoding=encoding,
        ) from None


def is_wide(encoding: str) -> bool:
    """Return whether an encoding is a form of UTF-16 or UTF-32, whose texts contain NUL bytes."""
    return encoding.lower().startswith(("utf-16", "utf_16", "utf-32", "utf_32"))


def is_unicode(encoding: str) -> bool:
    """Return whether an encoding is a form of Unicode, so that its files need no check for UTF-8."""
    return codecs.lookup(encoding).name.startswith("utf")


class DecodingChanges:
    """Decodes bytes, and counts the undecodable places that are replaced or omitted.

    Args:
        errors: "strict", "replace", "skip", or another error handler of Python, whose places are not counted.

    Attributes:
        handler: Name of the error handler for Python's decoders.
        count: Number of undecodable places so far.
        line_feeds: Number of line feeds before the first place, in the chunk that contains it.
        line: Line of the first place, for the notice; set by the caller.
    """

    def __init__(self, errors: str) -> None:
        self._errors, self.count, self.line_feeds, self.line = errors, 0, 0, 0
        self.handler = f"charloom.{errors}" if errors in _REPLACEMENTS else errors

    def decode(self, decoder: codecs.IncrementalDecoder, chunk: bytes) -> str:
        """Decode the next chunk; an empty one is the end.

        Raises:
            UnicodeError: If the bytes cannot be decoded and ``errors`` is "strict".
        """
        _current.changes = self
        return decoder.decode(chunk, final=not chunk)

    def report(self, name: str, notices: list[str]) -> None:
        """Add a notice if places were replaced or omitted."""
        if not self.count:
            return
        handling = "replaced by U+FFFD" if self._errors == "replace" else "omitted"
        notices.append(
            Notice(
                f"Undecodable places of {name} that were {handling}: {self.count:,}, the first in line {self.line:,}.",
                code="undecodable_bytes_changed",
                path=name,
                count=self.count,
                line=self.line,
            )
        )


_REPLACEMENTS = {"replace": "\ufffd", "skip": ""}
_current = threading.local()  # its attribute ``changes`` belongs to the decoder that this thread runs


def _register_handler(errors: str, replacement: str) -> None:
    def handle(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeDecodeError)
        changes: DecodingChanges = _current.changes
        if not changes.count:
            changes.line_feeds = error.object.count(b"\n", 0, error.start)
        changes.count += 1
        return replacement, error.end

    codecs.register_error(f"charloom.{errors}", handle)


for _name, _replacement in _REPLACEMENTS.items():
    _register_handler(_name, _replacement)


def looks_binary(data: bytes) -> bool:
    """Return whether the first bytes of a file, up to 256 KiB, contain a NUL byte and no byte order mark."""
    return b"\0" in data and marked_encoding(data) is None


def marked_encoding(data: bytes) -> str | None:
    """Return the encoding of a byte order mark at the start of the data, or None."""
    return next((name for mark, name in _BOMS if data.startswith(mark)), None)


def undecodable_error(
    data: bytes,
    source: str,
    encoding: str,
    error: UnicodeError,
    before: tuple[int, int] = (0, 0),
    bad: tuple[int, int] | None = None,
    can_choose: bool = True,
    one_of_several: bool = False,
) -> CorpusError:
    """Create the error for undecodable bytes, with their position and the likely encoding.

    Args:
        data: The bytes passed to the decoder.
        source: The file's name in the message.
        encoding: The encoding used.
        error: The decoder's error.
        before: Number of bytes and of line feeds that precede ``data`` in the file.
        bad: Number of undecodable places and of other non-ASCII characters in the whole file, if known.
        one_of_several: Whether other files can be decoded, so that the advice must concern this file only.
        can_choose: Whether the user can specify the encoding with ``--encoding``.
    """
    offset = 0
    if isinstance(
        error, UnicodeDecodeError
    ):  # an incremental decoder may prepend bytes that it kept from the previous chunk
        kept = error.object[: len(error.object) - len(data)]
        data, before = error.object, (before[0] - len(kept), before[1] - kept.count(b"\n"))
        offset = error.start
    line = before[1] + data.count(b"\n", 0, offset) + 1
    byte = data[offset] if offset < len(data) else None
    position = before[0] + offset
    invalid = "invalid data" if byte is None else f"invalid byte 0x{byte:02X}"
    where = f"{source} is not {encoding.upper()} text: {invalid} at offset {position} (line {line})."
    if (isinstance(error, UnicodeDecodeError) and "end of data" in error.reason) or "truncated" in str(error):
        return CorpusError(
            f"{where} The file is incomplete: it ends in the middle of a character. Use the complete file.",
            code="incomplete_text_file",
            path=source,
            encoding=encoding,
            offset=position,
            line=line,
            byte=byte,
        )
    is_damaged = bad is not None and bad[1] >= _MIN_GOOD * bad[0]
    guess = _guess(data, offset) if can_choose and not is_damaged else None
    only_for = source if one_of_several else None
    if not can_choose:
        advice = "Save it as UTF-8."
    elif bad is not None and is_damaged:
        advice = (
            f"The rest is {encoding.upper()} (undecodable places: {bad[0]:,}; decodable characters outside of ASCII: "
            f"{bad[1]:,}). Correct the undecodable places, pass --errors replace to read each as U+FFFD, or pass "
            "--errors skip to omit them."
        )
    elif guess is None:
        advice = f"Save the file as UTF-8, or specify its encoding with --encoding {_for_file('NAME', only_for)}."
    else:
        advice = f"It looks like {guess}: save the file as UTF-8, or try --encoding {_for_file(guess, only_for)}."
    return CorpusError(
        f"{where} {advice}",
        code="undecodable_text",
        path=source,
        encoding=encoding,
        offset=position,
        line=line,
        byte=byte,
        suggested_encoding=guess,
        undecodable=None if bad is None else bad[0],
    )


def _for_file(encoding: str, name: str | None) -> str:
    """Return the value of ``--encoding`` for all files, or for one file."""
    return encoding if name is None else f'"{escape(name)}={encoding}"'


def _guess(data: bytes, offset: int) -> str | None:
    """Return the most plausible encoding of the bytes around the undecodable byte at ``offset``, or None."""
    if (marked := marked_encoding(data)) is not None and marked != "utf-8":
        return marked
    start = max(0, offset - _SAMPLE // 2)
    sample = data[start : start + _SAMPLE]
    if start:
        sample = sample[
            1 + sample.find(b"\n") :
        ]  # start after a line feed, whose byte is never part of another character
    scores = {encoding: _plausibility(sample, encoding, test) for encoding, test in _CANDIDATES.items()}
    best = max(scores, key=lambda encoding: scores[encoding])  # the first of equal scores
    return best if scores[best] >= _MIN_PLAUSIBLE else None


def _plausibility(sample: bytes, encoding: str, test: "_Test") -> float:
    """Return the fraction of non-ASCII characters that are common in an encoding's languages; 0 if undecodable."""
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(
            sample
        )  # incremental, because the last character may be incomplete
    except UnicodeDecodeError:
        return 0.0
    counts = Counter(text)
    letters = sum(count for c, count in counts.items() if c.isascii() and c.isalpha())
    foreign = Counter({c: count for c, count in counts.items() if not c.isascii()})
    if any(unicodedata.category(c) == "Cc" for c in foreign) or not foreign:
        return 0.0
    return test(foreign, letters, encoding) / foreign.total()


def _latin(common: str) -> "_Test":
    def count(foreign: Counter[str], ascii_letters: int, _encoding: str) -> int:
        """Count common accented letters and typographic marks; 0 unless most letters are ASCII, as in Latin scripts."""
        return _sum(foreign, common + _TYPOGRAPHY) if foreign.total() < ascii_letters else 0

    return count


def _cyrillic(foreign: Counter[str], _ascii_letters: int, _encoding: str) -> int:
    return _sum(foreign, _CYRILLIC + _TYPOGRAPHY)


def _korean(foreign: Counter[str], _ascii_letters: int, _encoding: str) -> int:
    return sum(count for c, count in foreign.items() if "\uac00" <= c <= "\ud7a3")


def _japanese(kanji: range) -> "_Test":
    def count(foreign: Counter[str], _ascii_letters: int, encoding: str) -> int:
        """Count kana, punctuation and common kanji (JIS X 0208 level 1, identified by the range of the first byte)."""
        kana = sum(count for c, count in foreign.items() if "\u3041" <= c <= "\u30fe")
        if kana < _MIN_KANA * foreign.total():
            return 0
        rest = sum(count for c, count in foreign.items() if c in "、。「」" or c.encode(encoding)[0] in kanji)
        return kana + rest

    return count


def _chinese(leads: range, trails: range) -> "_Test":
    def count(foreign: Counter[str], _ascii_letters: int, encoding: str) -> int:
        """Count punctuation and common characters, identified by the ranges of their two bytes."""
        coded = ((c.encode(encoding), count) for c, count in foreign.items() if not "\u3041" <= c <= "\u30fe")
        return sum(count for code, count in coded if len(code) == 2 and code[0] in leads and code[1] in trails)

    return count


def _sum(counts: Counter[str], characters: str) -> int:
    return sum(counts[c] for c in set(characters))


_Test = Callable[[Counter[str], int, str], int]
"""Counts plausible characters.

The arguments are the counts of the non-ASCII characters, the number of ASCII letters, and the encoding.
"""

_CANDIDATES: dict[str, _Test] = {
    "cp1252": _latin(_WESTERN),
    "cp1250": _latin(_CENTRAL_EUROPEAN),
    "cp1251": _cyrillic,
    "koi8-r": _cyrillic,
    "shift-jis": _japanese(range(0x88, 0x98)),
    "euc-jp": _japanese(range(0xB0, 0xD0)),
    "euc-kr": _korean,
    "gb18030": _chinese(range(0xA1, 0xD8), range(0xA1, 0xFF)),
    "big5": _chinese(range(0xA1, 0xC7), range(0x40, 0xFF)),
}
"""The encodings that can be suggested; of equally plausible encodings, the first is suggested."""
