import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charloom.errors import SettingsError, UnknownCharacterError
from charloom.runtime.engine import Cursor, make_engine
from charloom.runtime.generation import generate, opening, read_text
from charloom.runtime.language_model import Model
from charloom.runtime.options import Sampling
from charloom.runtime.sampling import sample_seeds
from charloom.runtime.scoring import score
from charloom.text.vocabulary import Vocabulary
from conftest import tiny_saved

MODELS = {cell: Model(tiny_saved(cell)) for cell in ("gru", "lstm")}
cells = pytest.mark.parametrize("cell", ["gru", "lstm"])


@cells
@settings(max_examples=30, deadline=None)
@given(st.text("abcde\n ", max_size=20), st.integers(0, 60), st.integers(0, 2**53 - 1))
def test_a_text_begins_with_the_prompt_and_is_as_long_as_asked(cell, prompt, length, seed):
    pieces = list(generate(MODELS[cell].engine, MODELS[cell].vocabulary, prompt, length, Sampling(1.0), seed))
    text = "".join(piece.text for piece in pieces)
    assert text.startswith(prompt) and len(text) == len(prompt) + length
    assert [p.finish_reason for p in pieces] == [None] * (len(pieces) - 1) + ["length"]
    assert MODELS[cell].generate(prompt, length, 1.0, seed) == text


@cells
def test_a_sample_is_the_same_alone_and_among_others(cell):
    model, together = MODELS[cell], {}
    for piece in model.pieces("ab", 100, Sampling(0.9), seed=4, samples=5):
        together[piece.sample] = together.get(piece.sample, "") + piece.text
    alone = [model.generate("ab", 100, 0.9, seed) for seed in sample_seeds(4, 5)]
    assert list(together.values()) == alone
    assert len(set(alone)) == 5


@cells
def test_the_chunks_it_is_drawn_in_do_not_change_a_text(cell):
    engine = MODELS[cell].engine
    logits, state = read_text(engine, np.array([2, 3, 4]))

    def drawn(*chunks):
        cursor = Cursor(state, logits, np.array([7], np.uint64))
        return np.concatenate([engine.sample(cursor, n, Sampling(1.0)) for n in chunks], axis=1).tolist()

    assert drawn(60) == drawn(1, 59) == drawn(13, 0, 40, 7)


@cells
def test_a_state_can_be_branched(cell):
    engine = MODELS[cell].engine
    logits, state = read_text(engine, np.array([2, 3, 4]))
    branches = [Cursor(state, logits, np.array([seed], np.uint64)) for seed in (1, 2, 1)]
    first, second, third = (engine.sample(cursor, 40, Sampling(1.0)).tolist() for cursor in branches)
    assert first == third != second


@cells
def test_the_score_is_minus_the_sum_of_the_log_probabilities_of_generation(cell):
    """Draw a text character by character, adding up what each drawn character cost; then score the text."""
    model = MODELS[cell]
    prompt = "ab"
    logits, state = read_text(model.engine, model.vocabulary.encode(prompt))
    cursor = Cursor(state, logits, np.array([3], np.uint64))
    nats, ids = 0.0, list(model.vocabulary.encode(prompt))
    for _ in range(700):
        exact = cursor.logits[0].astype(np.float64)
        log_probs = exact - np.log(np.exp(exact).sum())
        ids.append(int(model.engine.sample(cursor, 1, Sampling(1.0))[0, 0]))
        nats -= log_probs[ids[-1]]
    text = model.vocabulary.decode(ids)
    after_prompt = model.score(text).surprisals[len(prompt) - 1 :].sum() * np.log(2)
    assert after_prompt == pytest.approx(nats, rel=1e-6)
    assert text == model.generate(prompt, 700, 1.0, 3)


def test_a_long_prompt_is_read_in_blocks_that_change_nothing():
    model = MODELS["gru"]
    ids = model.vocabulary.encode("abcde\n " * 120)
    whole, _ = model.engine.forward(ids[None].astype(np.intp), model.engine.initial_state(1))
    np.testing.assert_allclose(read_text(model.engine, ids)[0], whole[:, -1], atol=1e-5)


def test_an_unprompted_text_starts_as_after_the_end_of_a_line():
    model = MODELS["gru"]
    assert model.generate("\n", 50, 1.0, 2)[1:] == model.generate("", 50, 1.0, 2)
    assert [opening(Vocabulary(v)) for v in ("a \n", "ab ", "ba")] == ["\n", " ", "b"]


def test_an_unknown_character_in_the_prompt_is_refused_before_anything_is_written():
    with pytest.raises(UnknownCharacterError, match="LATIN SMALL LETTER Z"):
        MODELS["gru"].generate("abz")


@pytest.mark.parametrize("arguments", [{"length": -1}, {"samples": 0}, {"samples": 1025}, {"seed": -1}])
def test_numbers_out_of_range_are_refused(arguments):
    model = MODELS["gru"]
    with pytest.raises(SettingsError):
        generate(model.engine, model.vocabulary, **arguments)


def test_the_score_of_a_short_text_by_hand():
    model = MODELS["gru"]
    engine = make_engine(model.saved)
    logits, _ = engine.forward(np.array([[2]]), engine.initial_state(1))  # after "a"
    exact = logits[0, 0].astype(np.float64)
    nats = np.log(np.exp(exact).sum()) - exact[3]  # "b" follows
    found = score(engine, model.vocabulary, "ab")
    assert found.characters == 1
    assert found.total_nats == pytest.approx(nats, rel=1e-12)
    assert found.bits_per_char == pytest.approx(nats / np.log(2), rel=1e-12)
    assert found.perplexity == pytest.approx(np.exp(nats), rel=1e-12)
