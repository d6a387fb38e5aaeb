import pytest

from charloom.errors import InputError, SettingsError, UnknownCharacterError
from charloom.inference.generation import Request
from charloom.inference.generation_options import Ending, Sampling
from charloom.inference.model import Model
from charloom.inference.session import Session
from support.errors import codes, raises_code
from support.models import tiny_saved

MODEL = Model(tiny_saved("gru"))


def session(prompt="", length=30, seed=1, **options):
    request = Request(prompt, length, Sampling(1.0), seed=seed, **options)
    return Session(MODEL.engine("int8"), MODEL.vocabulary, request)


@pytest.mark.parametrize("prompt", ["", "abc"])
def test_the_first_continuation_equals_generate(prompt):
    s = session(prompt)
    continuation = "".join(s.continue_text())
    assert prompt + continuation == s.text == MODEL.generate(prompt, 30, 1.0, 1)


def test_undo_removes_one_addition_at_a_time():
    s = session("abc")
    list(s.continue_text())
    s.add("de")
    assert s.undo() == "de"
    s.undo()
    assert s.text == "abc"
    assert s.undo() == "abc" and s.text == ""
    with raises_code("nothing_to_undo", InputError):
        s.undo()


def test_an_interrupted_continuation_keeps_the_yielded_text():
    s = session("abc", length=1000)
    pieces = s.continue_text()
    shown = next(pieces)
    pieces.close()
    assert s.text == "abc" + shown


def test_after_a_stop_sequence_the_state_is_that_of_the_shown_text():
    whole = MODEL.generate("abc", 200, 1.0, 1)
    s = session("abc", length=200, ending=Ending(stop=(whole[50:53],)))
    list(s.continue_text())
    fresh = session(s.text)
    assert s.text == whole[: whole.index(whole[50:53])]
    assert (s._snapshots[-1].logits == fresh._snapshots[-1].logits).all()


def test_choices_differ_and_one_can_be_picked_once():
    s = session("abc")
    texts = s.choices(4)
    assert len(set(texts)) == 4 and all(len(text) == 30 for text in texts)
    assert s.text == "abc" and s.pick(2) == texts[1] and s.text == "abc" + texts[1]
    with raises_code("invalid_choice", InputError, number=1, choices=0):
        s.pick(1)


def test_sampling_options_can_change_and_invalid_ones_change_nothing():
    s = session("abc")
    s.set_sampling(temperature=0)
    greedy = "".join(s.continue_text())
    assert "abc" + greedy == MODEL.generate("abc", 30, 0)
    with pytest.raises(SettingsError):
        s.set_sampling(temperature=-1)
    with pytest.raises(UnknownCharacterError):
        s.add("xyz")
    assert s.text == "abc" + greedy


def test_unknown_characters_are_read_as_requested():
    s = session("ab☃", unknown="skip")
    assert s.text == "ab☃" and codes(s.unknown_notices("☃c")) == ["unknown_character"]
    list(s.continue_text())
    assert s.text == MODEL.generate("ab☃", 30, 1.0, 1, unknown="skip")
    only_unknown = session("☃", unknown="skip")
    only_unknown.add("ab")
    list(only_unknown.continue_text())
    assert only_unknown.text == "☃" + MODEL.generate("ab", 30, 1.0, 1)
    strict = session("ab")
    with raises_code("unknown_character", UnknownCharacterError):
        strict.add("☃")
    assert strict.text == "ab" and strict.unknown_notices("☃") == []
