"""The character vocabulary: encoding, decoding and unknown characters.

Encoding is a vectorized table lookup by code point; no Python code runs per character.
"""

import unicodedata
from collections import Counter
from collections.abc import Container, Iterable
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from charloom.data.text_format import LABEL_MARK, RECORD_MARK
from charloom.errors import CorpusError, UnknownCharacterError

_BLOCK = 1 << 15  # characters looked up at once; indices and results then fit in the CPU cache
_QUOTES = {"\u2018": "'", "\u2019": "'", "\u201a": "'", "\u201b": "'", "\u2032": "'", "\u00b4": "'", "`": "'"}
_EQUIVALENT = (
    "'\u2019\u2018\u02bc\u201b\u2032\u00b4`",
    '"\u201d\u201c\u201e\u201f\u00bb\u00ab\u2033',
    "-\u2013\u2014\u2010\u2011\u2012\u2015\u2212",
)
"""Typographic equivalents: apostrophes, quotation marks and dashes, each from the most to the least usual."""
_BY_CATEGORY = {"Pd": "-", "Zs": " ", "Zl": "\n", "Zp": "\n", "Pi": '"', "Pf": '"'}  # replacements by Unicode category


class Vocabulary:
    """The characters that a model knows; the id of a character is its position.

    Args:
        characters: Distinct characters, in the order of their ids.

    Raises:
        CorpusError: If there are no characters, or duplicate ones.

    Example:
        >>> vocabulary = Vocabulary.from_text("hello")
        >>> vocabulary.characters
        'ehlo'
        >>> vocabulary.encode("hole").tolist()
        [1, 3, 2, 0]
        >>> vocabulary.decode([1, 3, 2, 0])
        'hole'
    """

    unit = "char"

    def __init__(self, characters: str) -> None:
        if not isinstance(characters, str) or not characters:
            kind = type(characters).__name__
            got = "an empty string" if isinstance(characters, str) else f"a value of type {kind}"
            raise CorpusError(
                f"A vocabulary must be a string of at least one character, got {got}.",
                code="invalid_vocabulary",
                type=kind,
            )
        if len(set(characters)) != len(characters):
            ((duplicate, _),) = Counter(characters).most_common(1)
            raise CorpusError(
                f"The characters of a vocabulary must be distinct, but {describe(duplicate)} occurs more than once.",
                code="duplicate_character",
                character=duplicate,
                code_point=f"U+{ord(duplicate):04X}",
            )
        self.characters = characters

    @classmethod
    def from_text(cls, text: str) -> "Vocabulary":
        """Create the vocabulary of the sorted distinct characters of a text.

        Raises:
            CorpusError: If the text is empty.
        """
        return cls("".join(sorted(set(text))))

    def __len__(self) -> int:
        return len(self.characters)

    def __contains__(self, character: object) -> bool:
        return isinstance(character, str) and len(character) == 1 and character in self.characters

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and (self.characters, self.unit) == (other.characters, other.unit)

    def __hash__(self) -> int:
        return hash(self.characters)

    def __repr__(self) -> str:
        return f"Vocabulary({self.characters!r})"

    @property
    def ids_dtype(self) -> np.dtype[np.unsignedinteger]:
        """The narrowest unsigned integer type for ids in [0, V) and the marker V for unknown characters."""
        return np.min_scalar_type(len(self))

    def encode(self, text: str) -> NDArray[np.unsignedinteger]:
        """Return the id of every character.

        Args:
            text: A text of T characters.

        Returns:
            Ids (T,), each in [0, V), in the narrowest unsigned integer type.

        Raises:
            UnknownCharacterError: If the text contains characters that are not in this vocabulary; the message lists
                their code points, names and first positions.
        """
        ids = self.look_up(text)
        if ids.size and ids.max() == len(self):
            raise self._unknown_error(text)
        return ids

    def decode(self, ids: ArrayLike) -> str:
        """Convert ids to text.

        Args:
            ids: Integers (T,), each in [0, V).

        Raises:
            IndexError: If an id is outside [0, V).
        """
        return text_from_code_points(self._codes[self._checked(ids)])

    def unknown(self, text: str) -> str:
        """Return the distinct unknown characters of a text, in the order of their first appearance."""
        return "".join(dict.fromkeys(c for c in dict.fromkeys(text) if c not in self._set))

    def encode_symbols(self, symbols: str) -> NDArray[np.unsignedinteger]:
        """Convert the result of ``symbols`` back to ids."""
        return self.encode(symbols)

    def symbols(self, ids: ArrayLike) -> str:
        """Return exactly one character per id; for bytes, the character with the byte as its code point."""
        return self.decode(ids)

    def displayed(self, text: str) -> str:
        """Return one display character for each id of a text."""
        return text

    def names(self) -> list[str]:
        """Return a display name for each id."""
        return list(self.characters)

    def decoder(self) -> "Decoder":
        """Return an incremental decoder."""
        return Decoder(self)

    def sizes(self, text: str) -> NDArray[np.intp] | None:
        """Return the number of ids of each character of a text; None if every character has one id."""
        return None

    def look_up(self, text: str) -> NDArray[np.unsignedinteger]:
        """Return the id of every character, and V for unknown characters."""
        if self._bytes is not None and text.isascii():
            return np.frombuffer(text.encode("ascii").translate(self._bytes), np.uint8)
        codes = code_points(text)
        ids = np.empty(len(codes), self.ids_dtype)
        for start in range(0, len(codes), _BLOCK):
            block = slice(start, start + _BLOCK)
            # mode "clip" maps code points beyond the table to its last entry, the marker for unknown characters
            self._table.take(codes[block], mode="clip", out=ids[block])
        return ids

    def _checked(self, ids: ArrayLike) -> NDArray[np.intp]:
        array = np.asarray(ids, dtype=np.intp).reshape(-1)
        if array.size and (array.min() < 0 or array.max() >= len(self)):
            raise IndexError(f"Ids must be in [0, {len(self)}), got {array.min()} to {array.max()}.")
        return array

    def _unknown_error(self, text: str) -> UnknownCharacterError:
        """Create the error that lists the unknown characters of a text and similar known ones."""
        from charloom.data.vocabulary.unknown import UnknownCharacters  # imports this module

        found = UnknownCharacters(self)
        found.add(text)
        return found.error()

    @cached_property
    def _codes(self) -> NDArray[np.uint32]:
        return code_points(self.characters).astype(np.uint32)

    @cached_property
    def _set(self) -> frozenset[str]:
        return frozenset(self.characters)

    @cached_property
    def _table(self) -> NDArray[np.unsignedinteger]:
        table = np.full(int(self._codes.max()) + 2, len(self), self.ids_dtype)
        table[self._codes] = np.arange(len(self))
        return table

    @cached_property
    def _bytes(self) -> bytes | None:
        """The lookup table for ``bytes.translate``, the fastest method; None if ids need two bytes."""
        if self.ids_dtype != np.uint8:
            return None
        table = np.full(256, len(self), np.uint8)
        known = self._codes < 128
        table[self._codes[known]] = np.flatnonzero(known)
        return table.tobytes()


class Decoder:
    """Decodes ids incrementally.

    Args:
        vocabulary: The vocabulary of the ids.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def decode(self, ids: ArrayLike) -> str:
        """Decode the next ids, up to the last complete character."""
        return self._vocabulary.decode(ids)


def code_points(text: str) -> NDArray[np.integer]:
    """Return the code points of a text's characters.

    Uses UTF-16 if no character is above U+FFFF, because lookups with 2-byte indices are faster, else UTF-32.

    Args:
        text: Any string of T characters; lone surrogates are kept, so that errors can name them.

    Returns:
        Unsigned integers (T,), 2 or 4 bytes each.
    """
    narrow = text.encode("utf-16-le", "surrogatepass")
    if len(narrow) == 2 * len(text):
        return np.frombuffer(narrow, "<u2")
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def text_from_code_points(codes: NDArray[np.integer]) -> str:
    """Convert code points to text; the inverse of ``code_points``.

    Args:
        codes: Code points (T,), each in [0, 0x10FFFF].
    """
    return codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


def describe(character: str) -> str:
    """Return a character with its code point and Unicode name, such as "'é' (U+00E9, LATIN SMALL …)"."""
    name = unicodedata.name(character, "no name")
    return f"{character!r} (U+{ord(character):04X}, {name})"


def preview(characters: Iterable[str], max_length: int = 80) -> str:
    """Return the first ``max_length`` characters on one line, with control characters as escapes."""
    text = "".join(characters)
    return repr(text[:max_length])[1:-1] + ("…" if len(text) > max_length else "")


def replacement_character(vocabulary: Vocabulary) -> str:
    """Return the substitute for unknown characters: U+FFFD, else a space, else the vocabulary's first character.

    It is never a mark of records, which would end the record.
    """
    known = vocabulary.characters.translate({ord(RECORD_MARK): None, ord(LABEL_MARK): None})
    return next((c for c in "\ufffd " if c in vocabulary), known[:1] or vocabulary.characters[0])


def similar_character(character: str, known: Container[str]) -> str | None:
    """Return a known character that can replace an unknown one, such as "e" for "é"; None if there is none.

    For an ellipsis, these are three periods.

    Args:
        character: The unknown character.
        known: The known characters.
    """
    if character == "\u2026":
        return "..." if "." in known else None
    decomposed = unicodedata.normalize("NFD", character)
    if len(decomposed) > 1 and all(part in known for part in decomposed):
        return None  # it can be written in normalization form D; a part of it would be misleading
    return next((c for c in _candidates(character) if c != character and c in known), None)


def _candidates(character: str) -> list[str]:
    plain = unicodedata.normalize("NFKD", character)[:1]
    if "\uac00" <= character <= "\ud7a3":
        plain = ""  # the first letter of a syllable does not stand for it
    candidates = [
        _QUOTES.get(character, ""),
        *next((group for group in _EQUIVALENT if character in group), ""),
        _BY_CATEGORY.get(unicodedata.category(character), ""),
        unicodedata.normalize("NFKC", character),
        character.swapcase(),
        plain,
        plain.swapcase() if plain else "",
        "\n" if character == "\r" else "",
        " " if character == "\t" else "",
        '"' if character in "\u201e\u2033" else "",
    ]
    return [c for c in candidates if len(c) == 1]
