"""Decode bytes to text strictly: undecodable bytes are explained, never replaced."""

import codecs
import unicodedata
from collections import Counter
from collections.abc import Callable
from typing import Any

from charloom.errors import CorpusError

_BOMS = (  # the longer marks first: UTF-32's little-endian one begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_TYPOGRAPHY = "‘’‚“”„–—…•‹›«»§©®°·€£\u00a0"
_WESTERN = "".join(map(chr, [*range(0xC0, 0xD7), *range(0xD8, 0xF7), *range(0xF8, 0x100)])) + "ŒœŠšŽžŸ¡¿ªº´"
_CENTRAL_EUROPEAN = "ÁÂÄĄĂČĆÇĎÉĚĘËÍÎŁĽĹŇŃÓÔÖŐŔŘŠŚŞŤŢÚŮÜŰÝŽŹŻáâäąăčćçďéěęëíîłľĺňńóôöőŕřšśşťţúůüűýžźżß"
_CYRILLIC = "абвгдеёжзийклмнопрстуфхцчшщъыьэюяіїєґўјљњћђџ№"  # capitals are rare: in the wrong encoding most letters are
_SAMPLE = 1 << 16  # bytes that an encoding is guessed from
_MIN_PLAUSIBLE = 0.75  # share of plausible characters below which no encoding is suggested
_MIN_KANA = 0.2  # share of kana in Japanese: a lower one is Chinese


def decode_utf8(data: bytes, source: str) -> str:
    """Decode the bytes of a file that no option can give another encoding; a byte order mark is dropped.

    Args:
        data: The whole file.
        source: What to call it in an error.

    Raises:
        CorpusError: If it is not UTF-8; the message gives the byte offset and the line.
    """
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise undecodable_error(data, source, "utf-8", error, can_choose=False) from None


def check_encoding(encoding: str) -> None:
    """Raise ``CorpusError`` unless Python knows this encoding as one between bytes and text."""
    try:
        "".encode(encoding)
    except (LookupError, ValueError):
        raise CorpusError(
            f"Unknown encoding {encoding!r}. Use an encoding that Python supports, such as utf-8, utf-16, cp1252, "
            "latin-1, gb18030 or shift_jis.",
            code="unknown_encoding",
            encoding=encoding,
        ) from None


def looks_binary(data: bytes) -> bool:
    """Return whether the start of a file holds a NUL byte and no byte order mark: no text does."""
    return b"\0" in data[:8192] and marked_encoding(data) is None


def marked_encoding(data: bytes) -> str | None:
    """Return the encoding that a byte order mark at the start announces, or None."""
    return next((name for mark, name in _BOMS if data.startswith(mark)), None)


def undecodable_error(
    data: bytes,
    source: str,
    encoding: str,
    error: UnicodeError,
    before: tuple[int, int] = (0, 0),
    can_choose: bool = True,
) -> CorpusError:
    """Return the error for bytes that cannot be decoded: where they are, which encoding may fit, and what to do.

    Args:
        data: The bytes that were given to the decoder.
        source: What to call the file.
        encoding: That was tried.
        error: What the decoder said.
        before: Bytes and line feeds of the file that had been decoded before.
        can_choose: Whether the user can name another encoding.
    """
    offset = 0
    if isinstance(error, UnicodeDecodeError):  # a decoder that goes on may have kept some bytes of the last chunk
        kept = error.object[: len(error.object) - len(data)]
        data, before = error.object, (before[0] - len(kept), before[1] - kept.count(b"\n"))
        offset = error.start
    line = before[1] + data.count(b"\n", 0, offset) + 1
    byte = data[offset] if offset < len(data) else None
    position = before[0] + offset
    invalid = "invalid data" if byte is None else f"invalid byte 0x{byte:02X}"
    where = f"{source} is not {encoding.upper()} text: {invalid} at offset {position} (line {line})."
    place: dict[str, Any] = {
        "path": source,
        "encoding": encoding,
        "offset": position,
        "line": line,
        "byte": byte,
    }
    if (isinstance(error, UnicodeDecodeError) and "end of data" in error.reason) or "truncated" in str(error):
        return CorpusError(
            f"{where} The file is incomplete: it ends in the middle of a character. Use the complete file.",
            code="incomplete_text_file",
            **place,
        )
    guess = _guess(data, offset) if can_choose else None
    if not can_choose:
        advice = "Save it as UTF-8."
    elif guess is None:
        advice = "Save the file as UTF-8, or specify its encoding with --encoding."
    else:
        advice = f"It looks like {guess}: try --encoding {guess}, or save the file as UTF-8."
    return CorpusError(f"{where} {advice}", code="undecodable_text", suggested_encoding=guess, **place)


def _guess(data: bytes, offset: int) -> str | None:
    """Return the most plausible encoding of the bytes around the first one that did not fit, or None."""
    if (marked := marked_encoding(data)) is not None and marked != "utf-8":
        return marked
    start = max(0, offset - _SAMPLE // 2)
    sample = data[start : start + _SAMPLE]
    if start:
        sample = sample[1 + sample.find(b"\n") :]  # a line feed is never part of another character
    scores = {encoding: _plausibility(sample, encoding, test) for encoding, test in _CANDIDATES.items()}
    best = max(scores, key=lambda encoding: scores[encoding])  # of equals the first one
    return best if scores[best] >= _MIN_PLAUSIBLE else None


def _plausibility(sample: bytes, encoding: str, test: "_Test") -> float:
    """Return the share of the non-ASCII characters that are common in texts of an encoding; 0 if it cannot be read."""
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(sample)  # the last character may be incomplete
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
        """Count accented letters and typographic marks; Latin texts consist of ASCII letters for the most part."""
        return _sum(foreign, common + _TYPOGRAPHY) if foreign.total() < ascii_letters else 0

    return count


def _cyrillic(foreign: Counter[str], _ascii_letters: int, _encoding: str) -> int:
    return _sum(foreign, _CYRILLIC + _TYPOGRAPHY)


def _korean(foreign: Counter[str], _ascii_letters: int, _encoding: str) -> int:
    return sum(count for c, count in foreign.items() if "\uac00" <= c <= "\ud7a3")


def _japanese(kanji: range) -> "_Test":
    def count(foreign: Counter[str], _ascii_letters: int, encoding: str) -> int:
        """Count kana, punctuation and the common kanji, whose first byte lies in a range: level 1 of JIS X 0208."""
        kana = sum(count for c, count in foreign.items() if "\u3041" <= c <= "\u30fe")
        if kana < _MIN_KANA * foreign.total():
            return 0
        rest = sum(count for c, count in foreign.items() if c in "、。「」" or c.encode(encoding)[0] in kanji)
        return kana + rest

    return count


def _chinese(leads: range, trails: range) -> "_Test":
    def count(foreign: Counter[str], _ascii_letters: int, encoding: str) -> int:
        """Count punctuation and the common characters, which the standards keep in a range of first bytes."""
        coded = ((c.encode(encoding), count) for c, count in foreign.items() if not "\u3041" <= c <= "\u30fe")
        return sum(count for code, count in coded if len(code) == 2 and code[0] in leads and code[1] in trails)

    return count


def _sum(counts: Counter[str], characters: str) -> int:
    return sum(counts[c] for c in set(characters))


_Test = Callable[[Counter[str], int, str], int]
"""Counts the plausible characters among those beyond ASCII; takes them, the number of ASCII letters, the encoding."""

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
"""The encodings that are suggested, those first that are likelier where two are equally plausible."""
