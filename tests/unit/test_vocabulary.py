import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.data.vocabulary.characters import Vocabulary, code_points, text_from_code_points
from charloom.errors import CorpusError, UnknownCharacterError

ANY_TEXT = st.text(st.characters(), min_size=1)  # every code point, surrogates too


@given(ANY_TEXT)
def test_code_points_are_those_of_the_language(text):
    assert code_points(text).tolist() == [ord(c) for c in text] or "surrogate pair" in _kind(text)
    assert text_from_code_points(code_points(text)) == text or "surrogate pair" in _kind(text)


def _kind(text):
    """Two lone surrogates beside each other may join: they are no text, only something a shell can pass on."""
    pairs = any("\ud800" <= a <= "\udbff" and "\udc00" <= b <= "\udfff" for a, b in itertools.pairwise(text))
    return "surrogate pair" if pairs else "text"


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_encoding_is_the_position_in_the_sorted_alphabet_and_decoding_its_inverse(text):
    vocabulary = Vocabulary.from_text(text)
    alphabet = sorted(set(text))
    ids = vocabulary.encode(text)
    assert ids.tolist() == [alphabet.index(c) for c in text]
    assert vocabulary.decode(ids) == text


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.text(st.characters(exclude_categories=["Cs"])))
def test_characters_that_are_missing_are_all_named(known, text):
    vocabulary = Vocabulary.from_text(known)
    missing = set(text) - set(known)
    assert set(vocabulary.unknown(text)) == missing
    if missing:
        with pytest.raises(UnknownCharacterError, match=f"{len(missing)} character"):
            vocabulary.encode(text)
    else:
        assert vocabulary.decode(vocabulary.encode(text)) == text


def test_an_unknown_character_is_reported_by_name_code_point_and_place():
    with pytest.raises(UnknownCharacterError) as caught:
        Vocabulary.from_text("cafe").encode("café – café")
    message = str(caught.value)
    assert "'é' (U+00E9, LATIN SMALL LETTER E WITH ACUTE), first at position 3" in message
    assert "'–' (U+2013, EN DASH), first at position 5" in message
    assert "It knows 4 characters: acef" in message


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 5387, 65_535])
def test_ids_take_no_more_bytes_than_they_need_and_the_last_one_is_not_taken_for_unknown(size):
    characters = "".join(chr(0x4E00 + i) if 0x4E00 + i < 0xD800 else chr(0x10000 + i) for i in range(size))
    vocabulary = Vocabulary(characters)
    ids = vocabulary.encode(characters)
    assert ids.tolist() == list(range(size))
    assert ids.dtype.itemsize == (1 if size < 256 else 2)
    with pytest.raises(UnknownCharacterError):
        vocabulary.encode("a")


def test_ascii_beyond_the_vocabulary_is_unknown_too():
    with pytest.raises(UnknownCharacterError):
        Vocabulary("ab").encode("abz")


@pytest.mark.parametrize(("characters", "message"), [
    ("", "got none"), (["a"], "got a value of type list"), ("abcb", r"twice; this one does: 'b' \(U\+0062"),
])  # fmt: skip
def test_what_is_no_vocabulary_is_refused(characters, message):
    with pytest.raises(CorpusError, match=message):
        Vocabulary(characters)


def test_an_order_other_than_sorted_is_kept():
    assert Vocabulary("zax").encode("axz").tolist() == [1, 2, 0]


@pytest.mark.parametrize("characters", ["", "aa"])
def test_a_vocabulary_needs_distinct_characters(characters):
    with pytest.raises(CorpusError):
        Vocabulary(characters)


@pytest.mark.parametrize("ids", [[-1], [3], [0, 70_000]])
def test_ids_outside_the_vocabulary_do_not_decode(ids):
    with pytest.raises(IndexError):
        Vocabulary("abc").decode(np.array(ids))
