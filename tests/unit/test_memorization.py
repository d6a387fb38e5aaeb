import random

import numpy as np
import pytest

from charloom.inference.memorization import LONG, Memorization, measure_memorization
from charloom.inference.suffix_automaton import SuffixAutomaton
from charloom.native import engine as compiled

KINDS = [SuffixAutomaton] + ([compiled.SuffixAutomaton] if compiled is not None else [])
kinds = pytest.mark.parametrize("kind", KINDS, ids=["python", "native"][: len(KINDS)])


def symbols(text):
    return np.array([ord(c) for c in text], np.uint32)


def naive(text, source):
    """For each character the length of the longest run up to it that stands in the source, by trying them all."""
    lengths = []
    for end in range(1, len(text) + 1):
        length = 0
        while length < end and text[end - length - 1 : end] in source:
            length += 1
        lengths.append(length)
    return lengths


def case(rng):
    alphabet = rng.choice(
        ["ab", "abc", "abcdefgh", "ab\N{LATIN SMALL LETTER E WITH ACUTE}\N{SNOWMAN}\N{GRINNING FACE}"]
    )
    text = "".join(rng.choices(alphabet, k=rng.randrange(1, 40)))
    source = "".join(rng.choices(alphabet + "z", k=rng.randrange(60)))
    if rng.random() < 0.3 and len(text) > 4:
        source += text[rng.randrange(len(text)) :]
    return text, source


@kinds
@pytest.mark.parametrize("seed", range(2))
def test_it_finds_what_trying_all_runs_finds(kind, seed):
    """10,000 random cases in all: two kinds, two seeds."""
    rng = random.Random(seed)
    for _ in range(2500):
        text, source = case(rng)
        automaton = kind(symbols(text))
        cut = rng.randrange(len(source) + 1)
        for part in (source[:cut], source[cut:]):  # it goes on where it was left
            automaton.read(symbols(part))
        assert automaton.lengths().tolist() == naive(text, source), (text, source)


@kinds
def test_two_sources_do_not_run_into_each_other(kind):
    automaton = kind(symbols("abcd"))
    automaton.read(symbols("ab"))
    automaton.restart()
    automaton.read(symbols("cd"))
    assert automaton.lengths().tolist() == [1, 2, 1, 2]


@kinds
def test_nothing_and_something_of_nothing(kind):
    assert kind(symbols("")).lengths().tolist() == []
    assert kind(symbols("abc")).lengths().tolist() == [0, 0, 0]


def test_the_compiled_one_gives_what_the_readable_one_gives_on_a_text(text):
    if compiled is None:
        pytest.skip("the native engine is not installed")
    found = []
    for kind in KINDS:
        automaton = kind(symbols(text[:3000]))
        automaton.read(symbols(text[2000:]))
        found.append(automaton.lengths())
    assert np.array_equal(*found) and found[0].max() >= 1000


def test_passages_are_what_lies_in_long_copies(text):
    written = "ZZZZ" + text[100:150] + "ZZ" + text[300:320] + "Z" + text[500:540]
    found = measure_memorization(written, text)
    assert found.longest == 50
    assert found.passages() == [(4, 54), (77, 117)]
    assert found.copied == pytest.approx(90 / len(written))
    assert found.passages(60) == []


def test_passages_that_overlap_are_one():
    # runs of 40 that end at 40, and one of 35 that ends at 50
    lengths = np.zeros(60, np.int32)
    lengths[39], lengths[49] = 40, 35
    assert Memorization(lengths).passages() == [(0, 50)]
    assert Memorization(lengths).passages(38) == [(0, 40)]


def test_a_passage_is_longer_than_the_limit_not_as_long():
    lengths = np.arange(LONG + 2, dtype=np.int32)
    assert Memorization(lengths[: LONG + 1]).passages() == []
    assert Memorization(lengths).passages() == [(1, LONG + 2)]


def test_the_source_may_come_in_pieces(text):
    written = text[1000:1400]
    whole = measure_memorization(written, text)
    told = []
    pieces = measure_memorization(
        written, (text[i : i + 77] for i in range(0, len(text), 77)), lambda *told_: told.append(told_)
    )
    assert np.array_equal(whole.lengths, pieces.lengths) and whole.longest == 400
    assert told[-1] == (len(text), 0)


def test_an_empty_text_is_not_copied():
    assert measure_memorization("", "abc").copied == 0 and measure_memorization("", "abc").longest == 0
