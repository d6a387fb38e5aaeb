"""Bytes to text, strictly: what cannot be decoded is explained, never replaced."""

import codecs

from charloom.errors import CorpusError

_BOMS = (  # the longer marks first: UTF-32's little-endian one begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_COMMON = ["cp1251", "koi8_r", "cp1250", "gb18030", "big5", "shift_jis", "euc_jp", "euc_kr"]
_WESTERN = set(map(chr, [*range(0xC0, 0xD7), *range(0xD8, 0xF7), *range(0xF8, 0x100)])) | set(
    "ŒœŠšŽžŸ‘’‚“”„–—…•‹›«»¡¿ªº€£§©®°·´\u00a0"
)
_SAMPLE = 1 << 16  # bytes looked at to guess an encoding


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
        raise CorpusError(explain_undecodable(data, source, "utf-8", error, can_choose=False)) from None


def check_encoding(encoding: str) -> None:
    """Raise ``CorpusError`` unless Python knows this encoding as one between bytes and text."""
    try:
        "".encode(encoding)
    except (LookupError, ValueError):
        raise CorpusError(
            f"Unknown encoding {encoding!r}. Accepted is any encoding Python knows, such as utf-8, utf-16, "
            "cp1252, latin-1, gb18030 or shift_jis."
        ) from None


def looks_binary(data: bytes) -> bool:
    """Return whether the start of a file holds a NUL byte and no byte order mark: no text does."""
    return b"\0" in data[:8192] and marked_encoding(data) is None


def marked_encoding(data: bytes) -> str | None:
    """Return the encoding that a byte order mark at the start announces, or None."""
    return next((name for mark, name in _BOMS if data.startswith(mark)), None)


def explain_undecodable(
    data: bytes,
    source: str,
    encoding: str,
    error: UnicodeError,
    before: tuple[int, int] = (0, 0),
    can_choose: bool = True,
) -> str:
    """Return what is wrong with bytes that are no text in an encoding, and what to do.

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
    byte = f"byte 0x{data[offset]:02X} " if offset < len(data) else ""
    where = (
        f"{source} is not {encoding.upper()} text: {byte}at offset {before[0] + offset} (line {line}) does not "
        "belong there."
    )
    if (isinstance(error, UnicodeDecodeError) and "end of data" in error.reason) or "truncated" in str(error):
        return f"{where} The file ends in the middle of a character: it was cut short. Give the whole file."
    if not can_choose:
        return f"{where} Save it as UTF-8."
    guess = _guess(data, offset)
    if guess is None:
        return f"{where} Save the file as UTF-8, or name its encoding with --encoding."
    return f"{where} It looks like {guess}: try --encoding {guess}, or save the file as UTF-8."


def _guess(data: bytes, offset: int) -> str | None:
    """Return the most likely encoding, judged from the bytes around the first that did not fit."""
    if (marked := marked_encoding(data)) is not None and marked != "utf-8":
        return marked
    start = max(0, offset - _SAMPLE // 2)
    sample = data[start : start + _SAMPLE]
    if _looks_western(sample):
        return "cp1252"
    from charset_normalizer import from_bytes  # only ever needed for this message

    best = from_bytes(sample, cp_isolation=_COMMON).best()
    return None if best is None else best.encoding.replace("_", "-")


def _looks_western(sample: bytes) -> bool:
    """Return whether bytes read as cp1252 give mostly ASCII and besides it only what Western Europe writes.

    It is asked first, since its neighbours (cp1250, cp1257) decode the same bytes into rarer letters.
    """
    try:
        text = sample.decode("cp1252")
    except UnicodeDecodeError:
        return False
    beyond = [c for c in text if c > "\x7f"]
    return len(beyond) < 0.3 * len(text) and set(beyond) <= _WESTERN
