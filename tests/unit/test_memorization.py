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
    """Longest run that ends at each character and occurs in the source, by brute force."""
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
def test_the_automaton_equals_a_brute_force_search(kind, seed):
    """10,000 random cases in total: two implementations, two seeds."""
    rng = random.Random(seed)
    for _ in range(2500):
        text, source = case(rng)
        automaton = kind(symbols(text))
        cut = rng.randrange(len(source) + 1)
        for part in (source[:cut], source[cut:]):  # matches may span the pieces
            automaton.read(symbols(part))
        assert automaton.lengths().tolist() == naive(text, source), (text, source)


@kinds
def test_no_match_spans_two_sources(kind):
    automaton = kind(symbols("abcd"))
    automaton.read(symbols("ab"))
    automaton.restart()
    automaton.read(symbols("cd"))
    assert automaton.lengths().tolist() == [1, 2, 1, 2]


@kinds
def test_empty_text_and_empty_source(kind):
    assert kind(symbols("")).lengths().tolist() == []
    assert kind(symbols("abc")).lengths().tolist() == [0, 0, 0]


def test_the_native_automaton_equals_the_python_one(text):
    if compiled is None:
        pytest.skip("the native engine is not installed")
    results = []
    for kind in KINDS:
        automaton = kind(symbols(text[:3000]))
        automaton.read(symbols(text[2000:]))
        results.append(automaton.lengths())
    assert np.array_equal(*results) and results[0].max() >= 1000


def test_passages_are_unions_of_long_copied_runs(text):
    generated = "ZZZZ" + text[100:150] + "ZZ" + text[300:320] + "Z" + text[500:540]
    result = measure_memorization(generated, text)
    assert result.longest == 50
    assert result.passages() == [(4, 54), (77, 117)]
    assert result.copied == pytest.approx(90 / len(generated))
    assert result.passages(60) == []


def test_overlapping_runs_form_one_passage():
    # a run of 40 that ends at 40, and one of 35 that ends at 50
    lengths = np.zeros(60, np.int32)
    lengths[39], lengths[49] = 40, 35
    assert Memorization(lengths).passages() == [(0, 50)]
    assert Memorization(lengths).passages(38) == [(0, 40)]


def test_a_run_of_exactly_the_limit_is_not_a_passage():
    lengths = np.arange(LONG + 2, dtype=np.int32)
    assert Memorization(lengths[: LONG + 1]).passages() == []
    assert Memorization(lengths).passages() == [(1, LONG + 2)]


def test_a_source_in_pieces_gives_the_same_result(text):
    generated = text[1000:1400]
    whole = measure_memorization(generated, text)
    reported = []
    pieces = measure_memorization(
        generated, (text[i : i + 77] for i in range(0, len(text), 77)), lambda *counts: reported.append(counts)
    )
    assert np.array_equal(whole.lengths, pieces.lengths) and whole.longest == 400
    assert reported[-1] == (len(text), 0)


def test_an_empty_text_has_no_overlap():
    assert measure_memorization("", "abc").copied == 0 and measure_memorization("", "abc").longest == 0
