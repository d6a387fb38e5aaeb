"""The vocabulary of bytes: every text and every file can be encoded."""

import codecs

import numpy as np
from numpy.typing import ArrayLike, NDArray

from charloom.data.vocabulary.characters import Decoder, Vocabulary, describe
from charloom.errors import CorpusError, UnknownCharacterError

BYTES = "".join(map(chr, range(256)))
"""One character for each byte: that of its code point."""


class ByteVocabulary(Vocabulary):
    """All 256 bytes, each its own id: a text is the bytes of its UTF-8, and nothing is unknown.

    Bytes that are no UTF-8 stand in a text as the lone surrogates that Python puts there ("surrogateescape"), so that
    any bytes become a text and the same bytes again.

    Example:
        >>> vocabulary = ByteVocabulary()
        >>> vocabulary.encode("né").tolist()
        [110, 195, 169]
        >>> vocabulary.decode([110, 195, 169])
        'né'
    """

    unit = "byte"

    def __init__(self) -> None:
        super().__init__(BYTES)

    def __contains__(self, character: object) -> bool:
        return isinstance(character, str) and len(character) == 1 and not self.unknown(character)

    def __hash__(self) -> int:
        return hash((self.characters, self.unit))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByteVocabulary)

    def __repr__(self) -> str:
        return "ByteVocabulary()"

    @property
    def ids_dtype(self) -> np.dtype[np.unsignedinteger]:
        """One byte for each."""
        return np.dtype(np.uint8)

    def encode(self, text: str) -> NDArray[np.unsignedinteger]:
        """Return the bytes of a text.

        Raises:
            UnknownCharacterError: If it holds half a character: a surrogate that stands for no byte.
        """
        try:
            return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)
        except UnicodeEncodeError as error:
            character = text[error.start]
            raise UnknownCharacterError(
                f"The text contains a lone surrogate, {describe(character)}, at position {error.start}. No encoding "
                "can represent it. Remove it.",
                code="lone_surrogate",
                code_point=f"U+{ord(character):04X}",
                position=error.start,
            ) from None

    def decode(self, ids: ArrayLike) -> str:
        """Return the text of these bytes; those that are no UTF-8 become lone surrogates."""
        return self._as_bytes(ids).decode("utf-8", "surrogateescape")

    def unknown(self, text: str) -> str:
        """Return the distinct surrogates of a text that stand for no byte."""
        return "".join(dict.fromkeys(c for c in text if "\ud800" <= c <= "\udfff" and not "\udc80" <= c <= "\udcff"))

    def encode_symbols(self, symbols: str) -> NDArray[np.unsignedinteger]:
        """Return the byte that each character stands for."""
        return np.frombuffer(symbols.encode("latin-1"), np.uint8)

    def symbols(self, ids: ArrayLike) -> str:
        """Return one character for each byte: that of its code point."""
        return self._as_bytes(ids).decode("latin-1")

    def displayed(self, text: str) -> str:
        """Return one character for each byte: the character itself, then a dot per further byte; U+FFFD if invalid."""
        sizes = self.sizes(text)
        if sizes is None:
            return text
        shown = ("\ufffd" if "\udc80" <= c <= "\udcff" else c for c in text)
        return "".join(c + "·" * (size - 1) for c, size in zip(shown, sizes.tolist(), strict=True))

    def names(self) -> list[str]:
        """Return each byte as its ASCII character, or as an escape."""
        return [chr(byte) if byte < 128 else f"\\x{byte:02x}" for byte in range(256)]

    def decoder(self) -> "Decoder":
        """Return a decoder for bytes that come in pieces, which holds back incomplete characters."""
        return _ByteDecoder(self)

    def sizes(self, text: str) -> NDArray[np.intp] | None:
        """Return the number of bytes of each character of a text; None if that is 1 for all."""
        if text.isascii():
            return None
        return np.fromiter((len(c.encode("utf-8", "surrogateescape")) for c in text), np.intp, len(text))

    def _as_bytes(self, ids: ArrayLike) -> bytes:
        return self._checked(ids).astype(np.uint8).tobytes()


class _ByteDecoder(Decoder):
    def __init__(self, vocabulary: ByteVocabulary) -> None:
        self._bytes_of = vocabulary._as_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    def decode(self, ids: ArrayLike) -> str:
        return self._decoder.decode(self._bytes_of(ids))


def make_vocabulary(characters: str, unit: str = "char") -> Vocabulary:
    """Return the vocabulary of these characters.

    Raises:
        CorpusError: If there are none, one is there twice, or the unit is the byte and they are not all bytes.
    """
    if unit != "byte":
        return Vocabulary(characters)
    if characters != BYTES:
        raise CorpusError(
            "A byte vocabulary must contain all 256 bytes in ascending order.", code="invalid_byte_vocabulary"
        )
    return ByteVocabulary()
