"""The native engine against the readable one: int8 to the bit on every instruction set, float32 to rounding."""

import numpy as np
import pytest

from charloom import native
from charloom.errors import ModelFileError, SettingsError
from charloom.inference.engines.base import Cursor
from charloom.inference.engines.factory import engine_name, make_engine
from charloom.inference.engines.folding import _MAX_SUM, fold
from charloom.inference.engines.numpy import NumpyEngine
from charloom.inference.generation import Request, generate
from charloom.inference.generation_options import Sampling
from charloom.inference.model import Model
from charloom.inference.sampling import random_words
from charloom.model import reference as cells
from charloom.model.architecture import Architecture
from charloom.model.initializers import initial_weights
from support.errors import raises_code
from support.models import tiny_saved, tiny_weights

pytestmark = pytest.mark.skipif(native.engine is None, reason=native.missing or "there")
FORMS = [("gru", True, 1, 40), ("gru", True, 3, 33), ("gru", False, 2, 16), ("lstm", True, 1, 64), ("lstm", True, 2, 7)]
ISAS = native.instruction_sets()
SAMPLINGS = [
    Sampling(1.0),
    Sampling(0),
    Sampling(0.7, top_k=5),
    Sampling(1.5, top_p=0.7),
    Sampling(1.0, min_p=0.1),
    Sampling(0.9, top_k=20, top_p=0.8, min_p=0.05, repetition_penalty=1.3, repetition_window=9),
    Sampling(0.8, presence_penalty=0.5, frequency_penalty=0.3),
    Sampling(0, frequency_penalty=-1.5, repetition_penalty=0.7, repetition_window=3),
]


@pytest.fixture(params=FORMS, ids=lambda form: f"{form[0]}-{'after' if form[1] else 'before'}-{form[2]}x{form[3]}")
def model(request):
    cell, reset_after, num_layers, width = request.param
    architecture = Architecture(67, cell, 30, width, num_layers, reset_after)
    return architecture, tiny_weights(architecture, spread=0.4)


def engines(model, precision):
    from charloom.inference.engines.native import NativeEngine

    architecture, weights = model
    network = fold(architecture, weights, precision)
    return NativeEngine(architecture, network, threads=2), NumpyEngine(architecture, network)


IDS = np.random.default_rng(0).integers(0, 67, (19, 25))


def cursor(engine, sampling, texts=19):
    logits, state = engine.forward(IDS[:texts], engine.initial_state(texts), last=True)
    recent = np.full((texts, sampling.window), -1, np.int32)
    counts = np.zeros((texts, 67 if sampling.counts else 0), np.int32)
    return Cursor(state, logits[:, 0], np.arange(texts, dtype=np.uint64), recent=recent, counts=counts)


def test_int8_is_the_judges_to_the_bit(model, isa):
    fast, judge = engines(model, "int8")
    assert fast.instructions == isa
    found, expected = (engine.trace(IDS, engine.initial_state(len(IDS))) for engine in (fast, judge))
    for name in ("logits", "states", "gates", "state"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    logits, state = fast.forward(IDS, fast.initial_state(len(IDS)))
    np.testing.assert_array_equal(logits, expected.logits)
    np.testing.assert_array_equal(state, expected.state)


def test_float32_is_the_judges_to_rounding(model, isa):
    fast, judge = engines(model, "float32")
    found, expected = (engine.trace(IDS, engine.initial_state(len(IDS))) for engine in (fast, judge))
    for name in ("logits", "states", "gates", "state"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=3e-5, err_msg=name)
    exact, _ = cells.forward(*model, IDS)
    np.testing.assert_allclose(found.logits, exact, atol=3e-5)


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_int8_draws_the_same_characters(model, isa, sampling):
    fast, judge = engines(model, "int8")
    allowed = np.arange(67) % 5 > 0
    bias = np.where(allowed, np.float32(0), np.float32(-np.inf))
    a, b = (engine.sample(cursor(engine, sampling), 60, sampling, bias, True) for engine in (fast, judge))
    np.testing.assert_array_equal(a.ids, b.ids)
    np.testing.assert_allclose(a.log_probs, b.log_probs, rtol=1e-12)
    assert allowed[a.ids].all()


@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_a_text_does_not_depend_on_those_beside_it_nor_on_chunks_and_threads(model, isa, precision):
    fast, _ = engines(model, precision)
    sampling = SAMPLINGS[-1]
    whole = cursor(fast, sampling)
    together = fast.sample(whole, 50, sampling).ids
    parts = cursor(fast, sampling)
    chunks = [fast.sample(parts, n, sampling).ids for n in (1, 0, 12, 37)]
    np.testing.assert_array_equal(np.concatenate(chunks, axis=1), together)
    np.testing.assert_array_equal(parts.state, whole.state)
    np.testing.assert_array_equal(parts.recent, whole.recent)
    few = cursor(fast, sampling, 3)
    np.testing.assert_array_equal(fast.sample(few, 50, sampling).ids, together[:3])


def test_every_text_can_be_drawn_in_its_own_way(model, isa):
    """Together, from different positions: what each is alone, in both engines."""
    bias = np.zeros((len(SAMPLINGS), 67), np.float32)
    bias[:, ::7] = -np.inf
    bias[2] = np.linspace(-3, 3, 67)
    drawn = []
    for engine in engines(model, "int8"):
        alone = [cursor(engine, sampling, row + 1).rows([row]) for row, sampling in enumerate(SAMPLINGS)]
        for row, one in enumerate(alone):  # some are on their way already
            engine.sample(one, 3 * row, SAMPLINGS[row], bias[row])
        together = Cursor.joined(alone)
        ids = engine.sample(together, 40, SAMPLINGS, bias).ids
        for row, one in enumerate(alone):
            np.testing.assert_array_equal(engine.sample(one, 40, SAMPLINGS[row], bias[row]).ids[0], ids[row])
        assert together.positions.tolist() == [3 * row + 40 for row in range(len(SAMPLINGS))]
        drawn.append(ids)
    np.testing.assert_array_equal(*drawn)


def test_cursors_can_be_branched(model):
    fast, _ = engines(model, "int8")
    start = cursor(fast, Sampling(1.0))
    state = start.state.copy()
    branch = start.rows([2, 5])
    first = fast.sample(start, 30, Sampling(1.0)).ids
    assert (state != start.state).any()
    np.testing.assert_array_equal(fast.sample(branch, 30, Sampling(1.0)).ids, first[[2, 5]])


def test_the_random_numbers_are_the_same():
    for seed, position in ((0, 0), (2**53 - 1, 10**9), (7, 2**40)):
        expected = int(random_words(np.array([seed], np.uint64), position, 1)[0, 0])
        assert native.engine.random_word(seed, position) == expected


def test_a_thousand_seeds_streamed_whole_and_batched(monkeypatch):
    """The promise of seeds, in the engine that people use: every text of a batch is the text of its seed alone."""
    saved = tiny_saved("gru")
    engine = make_engine(saved, "int8")
    batch = {}
    for piece in generate(engine, saved.vocabulary, Request("ab", 40, Sampling(1.0), seed=5, samples=1000)):
        batch[piece.sample] = batch.get(piece.sample, "") + piece.text
    from charloom.inference.sampling import sample_seeds

    for sample, seed in enumerate(sample_seeds(5, 1000)):
        pieces = [p.text for p in generate(engine, saved.vocabulary, Request("ab", 40, Sampling(1.0), seed=seed))]
        assert "".join(pieces) == batch[sample]


def test_wrong_arrays_are_refused():
    engine = make_engine(tiny_saved("gru"))
    for ids in ([[7]], [[-1]]):
        with pytest.raises(ValueError, match="unknown id"):
            engine.forward(np.array(ids), engine.initial_state(1))
    with pytest.raises(ValueError, match="state"):
        engine.forward(np.array([[1]]), engine.initial_state(2))


def test_weights_whose_sums_overflow_are_refused():
    saved = tiny_saved("gru")
    saved.weights["output.weight"][0] = 3e38
    with raises_code("weights_too_large", ModelFileError, name="output.weight"):
        make_engine(saved)


def test_the_environment_chooses(monkeypatch):
    assert engine_name() == "native"
    monkeypatch.setenv("CHARLOOM_ENGINE", "numpy")
    assert make_engine(tiny_saved("gru")).name == "numpy"
    monkeypatch.setenv("CHARLOOM_ENGINE", "gpu")
    with raises_code("invalid_environment_variable", SettingsError, name="CHARLOOM_ENGINE", value="gpu"):
        engine_name()
    monkeypatch.delenv("CHARLOOM_ENGINE")
    monkeypatch.setenv("CHARLOOM_ISA", "mmx")
    with pytest.raises(SettingsError, match="portable"):
        make_engine(tiny_saved("gru"))


@pytest.mark.parametrize(("cell", "num_layers"), [("gru", 1), ("gru", 2), ("lstm", 1)])
def test_float32_agrees_with_pytorch_over_a_thousand_steps(isa, cell, num_layers):
    torch = pytest.importorskip("torch")
    from charloom.inference.engines.native import NativeEngine
    from charloom.training.backends.torch.network import CharNetwork

    architecture = Architecture(65, cell, 32, 128, num_layers)
    weights = initial_weights(architecture, 4)
    ids = np.random.default_rng(1).integers(0, 65, (2, 1000))
    with torch.no_grad():
        expected = CharNetwork(architecture, weights)(torch.from_numpy(ids), None)[0].numpy()
    engine = NativeEngine(architecture, fold(architecture, weights, "float32"))
    found, _ = engine.forward(ids, engine.initial_state(2))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_frequencies_of_a_hundred_thousand_draws():
    """Chi-square with V - 1 degrees of freedom at its 0.9999 quantile; the seeds are fixed."""
    from charloom.inference.engines.native import NativeEngine

    architecture = Architecture(12, "gru", 4, 16)
    weights = tiny_weights(architecture)
    engine = NativeEngine(architecture, fold(architecture, weights, "int8"))
    logits, state = engine.forward(np.zeros((1, 1), np.int32), engine.initial_state(1), last=True)
    count = 100_000
    for sampling in (Sampling(1.0), Sampling(0.7, top_k=6), Sampling(1.3, top_p=0.8), Sampling(1.0, min_p=0.1)):
        cursor = Cursor(
            np.repeat(state, count, axis=2), np.repeat(logits[:, 0], count, axis=0), np.arange(count, dtype=np.uint64)
        )
        observed = np.bincount(engine.sample(cursor, 1, sampling).ids[:, 0], minlength=12)
        exact = np.exp((logits[0, 0].astype(np.float64) - logits.max()) / sampling.temperature)
        order = np.argsort(-exact, kind="stable")
        kept = np.zeros(12, bool)
        kept[order[: sampling.top_k or 12]] = True
        shares = np.where(kept, exact, 0)[order].cumsum() / exact[kept].sum()
        kept[order[int((shares < sampling.top_p - 1e-9).sum()) + 1 :]] = False
        kept &= exact >= sampling.min_p
        expected = count * np.where(kept, exact, 0) / exact[kept].sum()
        assert not observed[~kept].any()
        surprise = ((observed[kept] - expected[kept]) ** 2 / expected[kept]).sum()
        assert surprise < 40.0  # the 0.9999 quantile for 11 degrees of freedom is 37.4


@pytest.mark.slow
def test_ten_million_characters_take_no_more_memory_than_one(tmp_path):
    resource = pytest.importorskip("resource")
    saved = tiny_saved("gru")
    engine, peaks, written = make_engine(saved, "int8"), [], 0
    for piece in generate(engine, saved.vocabulary, Request("", 10_000_000, Sampling(1.0), seed=1)):
        written += len(piece.text)
        if written >= 1_000_000 * (len(peaks) + 1):
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert written == 10_000_000 and peaks[-1] - peaks[0] < 1024  # kilobytes


HARSH = (
    Sampling(1e-300, top_k=1, top_p=1e-300, min_p=1.0, repetition_penalty=0.01),
    Sampling(100.0, top_k=6, top_p=0.999, repetition_penalty=100.0),
    Sampling(0, repetition_penalty=0.01),
)


@pytest.mark.parametrize("precision", ["int8", "float32"])
@pytest.mark.parametrize("name", ["native", "numpy"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_largest_weights_that_are_accepted_stay_finite_however_they_are_drawn_from(
    monkeypatch, cell, name, precision
):
    """Warnings of NumPy are errors here: an infinite logit, or the difference of two, would be one."""
    monkeypatch.setenv("CHARLOOM_ENGINE", name)
    saved = tiny_saved(cell)
    for part, value in saved.weights.items():
        large = 0.9 * _MAX_SUM / value.shape[-1]
        value[:] = large if part not in ("embedding.weight", "layers.0.weight_ih") else np.sqrt(large) / 10
        value[::2] *= -1
    saved.weights["output.bias"][:] = [0.9 * _MAX_SUM, 0, 0, 0, 0, 0, 0]
    model = Model(saved)
    for sampling in HARSH:
        drawn = model.pieces(Request("", 20, sampling, seed=1), precision)
        assert len("".join(piece.text for piece in drawn)) == 20
    score = model.score("abcab\n" * 3, precision=precision)
    assert np.isfinite(score.total_nats) and score.perplexity > 0
    logits, _ = model.engine(precision).forward(np.arange(7)[None], model.engine(precision).initial_state(1))
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("name", ["native", "numpy"])
def test_a_restored_cursor_draws_the_same_characters_again(name, monkeypatch):
    monkeypatch.setenv("CHARLOOM_ENGINE", name)
    engine = make_engine(tiny_saved("lstm"))
    logits = np.zeros((3, engine.architecture.vocabulary_size), np.float32)
    recent, counts = np.full((3, 4), -1, np.int32), np.zeros(logits.shape, np.int32)
    cursor = Cursor(engine.initial_state(3), logits, np.arange(3, dtype=np.uint64), recent=recent, counts=counts)
    sampling = Sampling(repetition_penalty=1.5, repetition_window=4, presence_penalty=0.5)
    engine.sample(cursor, 5, sampling)
    saved = cursor.copy()
    first = engine.sample(cursor, 20, sampling).ids
    assert cursor.positions.tolist() == [25] * 3
    cursor.restore(saved)
    assert cursor.positions.tolist() == [5] * 3
    assert (engine.sample(cursor, 20, sampling).ids == first).all()
