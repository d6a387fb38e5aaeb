import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.data.vocabulary.characters import Vocabulary, code_points, text_from_code_points
from charloom.errors import CorpusError, UnknownCharacterError
from support.errors import raises_code

ANY_TEXT = st.text(st.characters(), min_size=1)  # every code point, surrogates too


@given(ANY_TEXT)
def test_code_points_round_trip(text):
    assert code_points(text).tolist() == [ord(c) for c in text] or _has_surrogate_pair(text)
    assert text_from_code_points(code_points(text)) == text or _has_surrogate_pair(text)


def _has_surrogate_pair(text):
    """Return whether two adjacent lone surrogates form a pair, which UTF-16 decodes to one character."""
    return any("\ud800" <= a <= "\udbff" and "\udc00" <= b <= "\udfff" for a, b in itertools.pairwise(text))


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_encode_returns_positions_in_sorted_alphabet_and_decode_inverts_it(text):
    vocabulary = Vocabulary.from_text(text)
    alphabet = sorted(set(text))
    ids = vocabulary.encode(text)
    assert ids.tolist() == [alphabet.index(c) for c in text]
    assert vocabulary.decode(ids) == text


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.text(st.characters(exclude_categories=["Cs"])))
def test_unknown_lists_all_missing_characters(known, text):
    vocabulary = Vocabulary.from_text(known)
    missing = set(text) - set(known)
    assert set(vocabulary.unknown(text)) == missing
    if missing:
        with raises_code("unknown_character", UnknownCharacterError, count=len(missing)):
            vocabulary.encode(text)
    else:
        assert vocabulary.decode(vocabulary.encode(text)) == text


def test_unknown_characters_are_reported_with_code_point_name_and_position():
    with raises_code("unknown_character", UnknownCharacterError, count=3, vocabulary_size=4) as caught:
        Vocabulary.from_text("cafe").encode("café – café")
    acute, space, dash = caught.value.data["characters"]
    assert acute == {
        "character": "é",
        "code_point": "U+00E9",
        "name": "LATIN SMALL LETTER E WITH ACUTE",
        "position": 3,
        "line": 1,
        "column": 4,
        "path": None,
        "suggestion": "e",
    }
    assert (space["name"], space["position"]) == ("SPACE", 4)
    assert (dash["code_point"], dash["name"], dash["position"]) == ("U+2013", "EN DASH", 5)
    message = str(caught.value)
    assert "acef" in message and all(c["name"] in message and c["code_point"] in message for c in (acute, space, dash))


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 5387, 65_535])
def test_ids_use_the_narrowest_type_that_also_holds_the_unknown_marker(size):
    characters = "".join(chr(0x4E00 + i) if 0x4E00 + i < 0xD800 else chr(0x10000 + i) for i in range(size))
    vocabulary = Vocabulary(characters)
    ids = vocabulary.encode(characters)
    assert ids.tolist() == list(range(size))
    assert ids.dtype.itemsize == (1 if size < 256 else 2)
    with raises_code("unknown_character", UnknownCharacterError):
        vocabulary.encode("a")


def test_ascii_character_above_all_known_ones_is_unknown():
    with raises_code("unknown_character", UnknownCharacterError):
        Vocabulary("ab").encode("abz")


@pytest.mark.parametrize(("characters", "code", "data"), [
    ("", "invalid_vocabulary", {"type": "str"}), (["a"], "invalid_vocabulary", {"type": "list"}),
    ("abcb", "duplicate_character", {"character": "b", "code_point": "U+0062"}), ("aa", "duplicate_character", {}),
])  # fmt: skip
def test_invalid_vocabularies_are_rejected(characters, code, data):
    with raises_code(code, CorpusError, **data):
        Vocabulary(characters)


def test_vocabulary_keeps_its_order():
    assert Vocabulary("zax").encode("axz").tolist() == [1, 2, 0]


@pytest.mark.parametrize("ids", [[-1], [3], [0, 70_000]])
def test_decode_rejects_ids_out_of_range(ids):
    with pytest.raises(IndexError):
        Vocabulary("abc").decode(np.array(ids))
