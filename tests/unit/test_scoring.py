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


def random_text(length, seed=0):
    return "".join(np.random.default_rng(seed).choice(list("abcde\n "), length))


@cells
@precisions
def test_score_many_equals_score_for_each_text(cell, precision):
    model = MODELS[cell]
    lengths = [0, 1, 2, 3, 700, 5, 40, 513, 512, 2, 90] + [30] * 70
    texts = [random_text(length, seed) for seed, length in enumerate(lengths)]
    reported = []
    scores = model.score_many(texts, lambda *counts: reported.append(counts), precision)
    for text, result in zip(texts, scores, strict=True):
        assert result.text == text and len(result.surprisals) == max(len(text) - 1, 0)
        if len(text) > 1:
            assert np.array_equal(result.surprisals, model.score(text, precision=precision).surprisals)
    assert reported[-1] == (len(texts), len(texts))


@cells
def test_surprisal_blocks_equal_the_score_for_any_piece_size(cell):
    model, text = MODELS[cell], random_text(2000)
    whole = model.score(text).surprisals
    for size in (1, 7, 511, 512, 513, 5000):
        pieces = (text[i : i + size] for i in range(0, len(text), size))
        blocks = list(model.surprisal_blocks(pieces))
        assert "".join(characters for characters, _ in blocks) == text[1:]
        assert np.concatenate([bits for _, bits in blocks]) == pytest.approx(whole, abs=1e-5)


def test_surprisal_is_the_negative_log_probability_of_the_next_character():
    model = MODELS["gru"]
    text = random_text(60)
    predictions = model.top_guesses(text, len(model.vocabulary))
    expected = [
        -np.log2(predictions.probabilities[i, predictions.characters[i].index(text[i + 1])])
        for i in range(len(text) - 1)
    ]
    assert model.score(text).surprisals == pytest.approx(expected, rel=1e-9)


def test_texts_of_fewer_than_two_characters_are_rejected():
    for text in ("", "a"):
        with raises_code("text_too_short", CorpusError, characters=len(text), minimum=2):
            MODELS["gru"].score(text)
        with raises_code("text_too_short", CorpusError, characters=len(text), minimum=2):
            list(MODELS["gru"].surprisal_blocks([text, ""]))


def test_unknown_characters_are_rejected_before_scoring_starts():
    model, reported = MODELS["gru"], []
    with pytest.raises(UnknownCharacterError):
        score(model.engine(), model.vocabulary, random_text(2000) + "X", lambda *counts: reported.append(counts))
    assert not reported
    with pytest.raises(UnknownCharacterError):
        model.score_many(["abc", "aXc"])


def test_a_tally_of_blocks_equals_one_of_the_whole_text_in_constant_memory():
    rng = np.random.default_rng(0)
    text, bits = random_text(5001), rng.exponential(2, 5000)
    bits[1008:1056] += 9  # the passage that starts at character 1009
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


def test_ties_between_passages_go_to_the_first_and_a_tally_keeps_none_by_default():
    three, default = Tally(3), Tally()
    for tally in (three, default):
        for _ in range(5):
            tally.add("a" * 960, np.ones(960))
        assert tally.bits_per_char == pytest.approx(1) and tally.characters == 4800
    assert [passage.start for passage in three.passages] == [1, 49, 97]
    assert default.passages == [] and default._text == ""


def test_a_score_has_an_html_representation():
    """The opacity of the color is a tenth of the surprisal in bits, at most 0.7; the first character has none."""
    color = "background:rgba(232,93,35"
    assert Score(np.array([1.0, 8.0]), "a<b")._repr_html_() == (
        '<p>4.5000 bits per character, 2 characters</p><pre style="white-space:pre-wrap">'
        f'<span title="0.00 bits" style="{color},0.00)">a</span>'
        f'<span title="1.00 bits" style="{color},0.10)">&lt;</span>'
        f'<span title="8.00 bits" style="{color},0.70)">b</span></pre>'
    )
    empty = Score(np.empty(0), "a")._repr_html_()
    assert empty.startswith("<p></p>") and empty.count("<span") == 1


def test_the_html_representation_is_limited_to_5000_characters():
    for length, shown in ((5000, 5000), (5001, 5000), (9000, 5000)):
        assert Score(np.ones(length - 1), "a" * length)._repr_html_().count("<span") == shown


def test_passages_returns_five_by_default():
    scored = Score(np.arange(480.0), random_text(481))
    assert [passage.start for passage in scored.passages()] == [433, 385, 337, 289, 241]
    assert len(scored.passages(7)) == 7
