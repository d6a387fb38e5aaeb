"""Suggestions for misspelled names."""

import pytest

from charloom._util.suggest import ask_about, did_you_mean, suggestions, typing_errors

NAMES = [
    "temperature",
    "top_k",
    "top_p",
    "length",
    "seed",
    "hidden_size",
    "batch_size",
    "batching",
    "epochs",
    "my_book.txt",
]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("temprature", "temperature"),
        ("tempertaure", "temperature"),
        ("Temperature", "temperature"),
        ("temp", "temperature"),
        ("topk", "top_k"),
        ("top-k", "top_k"),
        ("lenght", "length"),
        ("epoch", "epochs"),
        ("hidden", "hidden_size"),
        ("my_bok", "my_book.txt"),
        ("my_book.text", "my_book.txt"),
    ],
)
def test_a_typing_error_or_an_abbreviation_is_recognized(name, expected):
    assert suggestions(name, NAMES) == [expected]


@pytest.mark.parametrize(
    "name", ["", "k", "te", "batch", "strength", "reader", "frobnicate", "temporal_average", "notebook"]
)
def test_nothing_far_fetched_is_suggested(name):
    assert suggestions(name, NAMES) == []


def test_a_name_of_another_library_comes_before_a_similar_name():
    assert suggestions("seeds", NAMES, {"seeds": "epochs"}) == ["epochs"]
    assert suggestions("max-tokens", NAMES, {"max_tokens": "length"}) == ["length"]
    assert suggestions("n", ["length"], {"n": "samples"}) == []  # samples is unknown here


def test_a_maximum_is_not_suggested_for_a_minimum():
    assert suggestions("min_tokens", ["max_tokens"]) == suggestions("max_p", ["min_p"]) == []
    assert suggestions("max_token", ["max_tokens"]) == ["max_tokens"]


def test_the_nearest_is_suggested_and_of_equals_the_first():
    assert suggestions("top_x", ["top_p", "top_k"]) == ["top_p"]
    assert suggestions("runs", ["run", "ruins", "runs"]) == ["runs"]


def test_the_sentence_shows_the_name_as_it_is_typed():
    assert did_you_mean("sede", NAMES, lambda name: f"--{name}").endswith(" --seed?")
    assert did_you_mean("frobnicate", NAMES) == ""
    assert ask_about(["a", "b", "c"]) == " Did you mean a, b or c?" and ask_about([]) == ""


@pytest.mark.parametrize(
    ("a", "b", "errors"), [("", "", 0), ("", "ab", 2), ("ab", "ba", 1), ("abc", "axc", 1), ("kitten", "sitting", 3)]
)
def test_typing_errors_are_counted(a, b, errors):
    assert typing_errors(a, b) == typing_errors(b, a) == errors
