import numpy as np
import pytest

from charloom.errors import CorpusError, UnknownCharacterError
from charloom.inference.model import Model
from charloom.inference.scoring import Score, Tally, score
from support.errors import raises_code
from support.models import tiny_saved

MODELS = {cell: Model(tiny_saved(cell)) for cell in ("gru", "lstm")}
cells = pytest.mark.parametrize("cell", ["gru", "lstm"])
precisions = pytest.mark.parametrize("precision", ["float32", "int8"])


def drawn(length, seed=0):
    return "".join(np.random.default_rng(seed).choice(list("abcde\n "), length))


@cells
@precisions
def test_many_texts_cost_what_each_costs_alone(cell, precision):
    model = MODELS[cell]
    lengths = [0, 1, 2, 3, 700, 5, 40, 513, 512, 2, 90] + [30] * 70
    texts = [drawn(length, seed) for seed, length in enumerate(lengths)]
    told = []
    found = model.score_many(texts, lambda *told_: told.append(told_), precision)
    for text, one in zip(texts, found, strict=True):
        assert one.text == text and len(one.surprisals) == max(len(text) - 1, 0)
        if len(text) > 1:
            assert np.array_equal(one.surprisals, model.score(text, precision=precision).surprisals)
    assert told[-1] == (len(texts), len(texts))


@cells
def test_blocks_are_the_score_however_the_text_is_cut(cell):
    model, text = MODELS[cell], drawn(2000)
    whole = model.score(text).surprisals
    for size in (1, 7, 511, 512, 513, 5000):
        pieces = (text[i : i + size] for i in range(0, len(text), size))
        blocks = list(model.surprisal_blocks(pieces))
        assert "".join(characters for characters, _ in blocks) == text[1:]
        assert np.concatenate([bits for _, bits in blocks]) == pytest.approx(whole, abs=1e-5)


def test_surprisal_is_minus_the_logarithm_of_the_probability_of_what_comes():
    model = MODELS["gru"]
    text = drawn(60)
    guesses = model.top_guesses(text, len(model.vocabulary))
    expected = [
        -np.log2(guesses.probabilities[i, guesses.characters[i].index(text[i + 1])]) for i in range(len(text) - 1)
    ]
    assert model.score(text).surprisals == pytest.approx(expected, rel=1e-9)


def test_too_short_a_text_is_refused():
    for text in ("", "a"):
        with raises_code("text_too_short", CorpusError, characters=len(text), minimum=2):
            MODELS["gru"].score(text)
        with raises_code("text_too_short", CorpusError, characters=len(text), minimum=2):
            list(MODELS["gru"].surprisal_blocks([text, ""]))


def test_an_unknown_character_is_refused_before_the_work():
    model, told = MODELS["gru"], []
    with pytest.raises(UnknownCharacterError):
        score(model.engine(), model.vocabulary, drawn(2000) + "X", lambda *told_: told.append(told_))
    assert not told
    with pytest.raises(UnknownCharacterError):
        model.score_many(["abc", "aXc"])


def test_a_tally_needs_no_more_memory_for_a_longer_text_and_gives_the_same():
    rng = np.random.default_rng(0)
    text, bits = drawn(5001), rng.exponential(2, 5000)
    bits[1008:1056] += 9  # the passage from character 1009 on
    whole, blocks = Tally(3), Tally(3)
    whole.add(text[1:], bits)
    for start in range(0, 5000, 100):
        blocks.add(text[1 + start : 101 + start], bits[start : start + 100])
        assert len(blocks._text) < 48 and len(blocks._passages) <= 3
    assert whole.passages == blocks.passages and len(whole.passages) == 3
    first = whole.passages[0]
    assert (first.start, first.text) == (1009, text[1009:1057])
    assert first.bits_per_char == pytest.approx(bits[1008:1056].mean())
    assert blocks.total_nats == pytest.approx(bits.sum() * np.log(2)) and blocks.characters == 5000
    assert Score(bits, text).passages(3) == whole.passages


def test_of_equal_passages_the_first_are_kept_and_none_unless_asked_for():
    some, none = Tally(3), Tally()
    for tally in (some, none):
        for _ in range(5):
            tally.add("a" * 960, np.ones(960))
        assert tally.bits_per_char == pytest.approx(1) and tally.characters == 4800
    assert [passage.start for passage in some.passages] == [1, 49, 97]
    assert none.passages == [] and none._text == ""


def test_a_score_shows_itself_in_a_notebook():
    """A tenth of the bits is the colour's strength, at most 0.7; the first character costs nothing."""
    colour = "background:rgba(232,93,35"
    assert Score(np.array([1.0, 8.0]), "a<b")._repr_html_() == (
        '<p>4.5000 bits per character, 2 characters</p><pre style="white-space:pre-wrap">'
        f'<span title="0.00 bits" style="{colour},0.00)">a</span>'
        f'<span title="1.00 bits" style="{colour},0.10)">&lt;</span>'
        f'<span title="8.00 bits" style="{colour},0.70)">b</span></pre>'
    )
    nothing = Score(np.empty(0), "a")._repr_html_()
    assert nothing.startswith("<p></p>") and nothing.count("<span") == 1


def test_of_a_long_text_a_notebook_shows_the_beginning():
    for length, shown in ((5000, 5000), (5001, 5000), (9000, 5000)):
        assert Score(np.ones(length - 1), "a" * length)._repr_html_().count("<span") == shown


def test_five_passages_are_kept_unless_more_are_asked_for():
    scored = Score(np.arange(480.0), drawn(481))
    assert [passage.start for passage in scored.passages()] == [433, 385, 337, 289, 241]
    assert len(scored.passages(7)) == 7
