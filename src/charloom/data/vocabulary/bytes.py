"""The byte vocabulary, which can encode every text and every file."""

import codecs

import numpy as np
from numpy.typing import ArrayLike, NDArray

from charloom.data.vocabulary.characters import Decoder, Vocabulary, describe
from charloom.errors import CorpusError, UnknownCharacterError

BYTES = "".join(map(chr, range(256)))
"""The 256 characters with the code points 0 to 255; each represents one byte."""


class ByteVocabulary(Vocabulary):
    """All 256 bytes; the ids of a text are the bytes of its UTF-8 encoding.

    Bytes that are not valid UTF-8 are represented in a text by the lone surrogates of Python's "surrogateescape", so
    that decoding and encoding restores any sequence of bytes.

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
        """The type of ids, uint8."""
        return np.dtype(np.uint8)

    def encode(self, text: str) -> NDArray[np.unsignedinteger]:
        """Return the UTF-8 bytes of a text.

        Raises:
            UnknownCharacterError: If the text contains a lone surrogate that does not represent a byte.
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
        """Decode bytes as UTF-8; invalid bytes become lone surrogates."""
        return self._as_bytes(ids).decode("utf-8", "surrogateescape")

    def unknown(self, text: str) -> str:
        """Return the distinct lone surrogates of a text that do not represent bytes."""
        return "".join(dict.fromkeys(c for c in text if "\ud800" <= c <= "\udfff" and not "\udc80" <= c <= "\udcff"))

    def encode_symbols(self, symbols: str) -> NDArray[np.unsignedinteger]:
        """Return the bytes that these characters represent; see ``symbols``."""
        return np.frombuffer(symbols.encode("latin-1"), np.uint8)

    def symbols(self, ids: ArrayLike) -> str:
        """Return one character per byte, with the byte as its code point."""
        return self._as_bytes(ids).decode("latin-1")

    def displayed(self, text: str) -> str:
        """Return one display character per byte: a character, then "·" for each further byte; U+FFFD if invalid."""
        sizes = self.sizes(text)
        if sizes is None:
            return text
        shown = ("\ufffd" if "\udc80" <= c <= "\udcff" else c for c in text)
        return "".join(c + "·" * (size - 1) for c, size in zip(shown, sizes.tolist(), strict=True))

    def names(self) -> list[str]:
        """Return a display name for each byte: its ASCII character, or an escape such as ``\\xc3``."""
        return [chr(byte) if byte < 128 else f"\\x{byte:02x}" for byte in range(256)]

    def decoder(self) -> "Decoder":
        """Return an incremental decoder, which holds back incomplete characters."""
        return _ByteDecoder(self)

    def sizes(self, text: str) -> NDArray[np.intp] | None:
        """Return the number of bytes of each character of a text; None if every character has one byte."""
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
    """Create a vocabulary for a unit.

    Args:
        characters: The characters in the order of their ids; for bytes, ``BYTES``.
        unit: "char" or "byte".

    Raises:
        CorpusError: If there are no characters, or duplicate ones, or the unit is "byte" and they are not ``BYTES``.
    """
    if unit != "byte":
        return Vocabulary(characters)
    if characters != BYTES:
        raise CorpusError(
            "A byte vocabulary must contain all 256 bytes in ascending order.", code="invalid_byte_vocabulary"
        )
    return ByteVocabulary()
