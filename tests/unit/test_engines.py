"""The native engine against the NumPy engine: int8 bit-identical on every instruction set, float32 up to rounding."""

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
from charloom.model import reference
from charloom.model.architecture import Architecture
from charloom.model.initializers import initial_weights
from support.errors import raises_code
from support.models import tiny_saved, tiny_weights

pytestmark = pytest.mark.skipif(native.engine is None, reason=native.missing or "available")
ARCHITECTURES = [
    ("gru", True, 1, 40),
    ("gru", True, 3, 33),
    ("gru", False, 2, 16),
    ("lstm", True, 1, 64),
    ("lstm", True, 2, 7),
]
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


@pytest.fixture(
    params=ARCHITECTURES, ids=lambda case: f"{case[0]}-{'after' if case[1] else 'before'}-{case[2]}x{case[3]}"
)
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


def test_int8_is_bit_identical_to_the_numpy_engine(model, isa):
    native_engine, numpy_engine = engines(model, "int8")
    assert native_engine.instructions == isa
    result, expected = (engine.trace(IDS, engine.initial_state(len(IDS))) for engine in (native_engine, numpy_engine))
    for name in ("logits", "states", "gates", "state"):
        np.testing.assert_array_equal(getattr(result, name), getattr(expected, name), err_msg=name)
    logits, state = native_engine.forward(IDS, native_engine.initial_state(len(IDS)))
    np.testing.assert_array_equal(logits, expected.logits)
    np.testing.assert_array_equal(state, expected.state)


def test_float32_agrees_with_the_numpy_engine_up_to_rounding(model, isa):
    native_engine, numpy_engine = engines(model, "float32")
    result, expected = (engine.trace(IDS, engine.initial_state(len(IDS))) for engine in (native_engine, numpy_engine))
    for name in ("logits", "states", "gates", "state"):
        np.testing.assert_allclose(getattr(result, name), getattr(expected, name), atol=3e-5, err_msg=name)
    exact, _ = reference.forward(*model, IDS)
    np.testing.assert_allclose(result.logits, exact, atol=3e-5)


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_int8_samples_the_same_characters_as_the_numpy_engine(model, isa, sampling):
    native_engine, numpy_engine = engines(model, "int8")
    allowed = np.arange(67) % 5 > 0
    bias = np.where(allowed, np.float32(0), np.float32(-np.inf))
    a, b = (
        engine.sample(cursor(engine, sampling), 60, sampling, bias, True) for engine in (native_engine, numpy_engine)
    )
    np.testing.assert_array_equal(a.ids, b.ids)
    np.testing.assert_allclose(a.log_probs, b.log_probs, rtol=1e-12)
    assert allowed[a.ids].all()


@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_a_text_does_not_depend_on_its_batch_chunks_and_threads(model, isa, precision):
    native_engine, _ = engines(model, precision)
    sampling = SAMPLINGS[-1]
    whole = cursor(native_engine, sampling)
    expected = native_engine.sample(whole, 50, sampling).ids
    parts = cursor(native_engine, sampling)
    chunks = [native_engine.sample(parts, n, sampling).ids for n in (1, 0, 12, 37)]
    np.testing.assert_array_equal(np.concatenate(chunks, axis=1), expected)
    np.testing.assert_array_equal(parts.state, whole.state)
    np.testing.assert_array_equal(parts.recent, whole.recent)
    few = cursor(native_engine, sampling, 3)
    np.testing.assert_array_equal(native_engine.sample(few, 50, sampling).ids, expected[:3])


def test_each_text_of_a_batch_can_have_its_own_sampling_options(model, isa):
    """In a batch, from different positions, each text equals its single generation, in both engines."""
    bias = np.zeros((len(SAMPLINGS), 67), np.float32)
    bias[:, ::7] = -np.inf
    bias[2] = np.linspace(-3, 3, 67)
    results = []
    for engine in engines(model, "int8"):
        cursors = [cursor(engine, sampling, row + 1).rows([row]) for row, sampling in enumerate(SAMPLINGS)]
        for row, single in enumerate(cursors):  # advance them to different positions
            engine.sample(single, 3 * row, SAMPLINGS[row], bias[row])
        batch = Cursor.joined(cursors)
        ids = engine.sample(batch, 40, SAMPLINGS, bias).ids
        for row, single in enumerate(cursors):
            np.testing.assert_array_equal(engine.sample(single, 40, SAMPLINGS[row], bias[row]).ids[0], ids[row])
        assert batch.positions.tolist() == [3 * row + 40 for row in range(len(SAMPLINGS))]
        results.append(ids)
    np.testing.assert_array_equal(*results)


def test_cursors_can_be_branched(model):
    native_engine, _ = engines(model, "int8")
    start = cursor(native_engine, Sampling(1.0))
    state = start.state.copy()
    branch = start.rows([2, 5])
    first = native_engine.sample(start, 30, Sampling(1.0)).ids
    assert (state != start.state).any()
    np.testing.assert_array_equal(native_engine.sample(branch, 30, Sampling(1.0)).ids, first[[2, 5]])


def test_random_numbers_equal_those_of_numpy():
    for seed, position in ((0, 0), (2**53 - 1, 10**9), (7, 2**40)):
        expected = int(random_words(np.array([seed], np.uint64), position, 1)[0, 0])
        assert native.engine.random_word(seed, position) == expected


def test_a_batch_of_1000_samples_equals_1000_single_generations(monkeypatch):
    """Every sample of a batch equals the single generation with its seed, in the default engine."""
    saved = tiny_saved("gru")
    engine = make_engine(saved, "int8")
    batch = {}
    for piece in generate(engine, saved.vocabulary, Request("ab", 40, Sampling(1.0), seed=5, samples=1000)):
        batch[piece.sample] = batch.get(piece.sample, "") + piece.text
    from charloom.inference.sampling import sample_seeds

    for sample, seed in enumerate(sample_seeds(5, 1000)):
        pieces = [p.text for p in generate(engine, saved.vocabulary, Request("ab", 40, Sampling(1.0), seed=seed))]
        assert "".join(pieces) == batch[sample]


def test_invalid_arrays_are_rejected():
    engine = make_engine(tiny_saved("gru"))
    for ids in ([[7]], [[-1]]):
        with pytest.raises(ValueError, match="unknown id"):
            engine.forward(np.array(ids), engine.initial_state(1))
    with pytest.raises(ValueError, match="state"):
        engine.forward(np.array([[1]]), engine.initial_state(2))


def test_weights_whose_sums_overflow_are_rejected():
    saved = tiny_saved("gru")
    saved.weights["output.weight"][0] = 3e38
    with raises_code("weights_too_large", ModelFileError, name="output.weight"):
        make_engine(saved)


def test_environment_variables_choose_engine_and_instruction_set(monkeypatch):
    assert engine_name() == "native"
    monkeypatch.setenv("CHARLOOM_ENGINE", "numpy")
    assert make_engine(tiny_saved("gru")).name == "numpy"
    monkeypatch.setenv("CHARLOOM_ENGINE", "gpu")
    with raises_code("invalid_setting", SettingsError, name="CHARLOOM_ENGINE", value="gpu"):
        engine_name()
    monkeypatch.delenv("CHARLOOM_ENGINE")
    monkeypatch.setenv("CHARLOOM_ISA", "mmx")
    with raises_code("invalid_setting", SettingsError, name="CHARLOOM_ISA", value="mmx"):
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
    result, _ = engine.forward(ids, engine.initial_state(2))
    np.testing.assert_allclose(result, expected, atol=1e-4)


def test_frequencies_of_100000_draws_match_the_distribution():
    """A chi-square test with V - 1 = 11 degrees of freedom at the 0.9999 quantile, with fixed seeds."""
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
        chi_square = ((observed[kept] - expected[kept]) ** 2 / expected[kept]).sum()
        assert chi_square < 40.0  # the 0.9999 quantile for 11 degrees of freedom is 37.4


@pytest.mark.slow
def test_memory_does_not_grow_over_10_million_characters(tmp_path):
    resource = pytest.importorskip("resource")
    saved = tiny_saved("gru")
    engine, peaks, count = make_engine(saved, "int8"), [], 0
    for piece in generate(engine, saved.vocabulary, Request("", 10_000_000, Sampling(1.0), seed=1)):
        count += len(piece.text)
        if count >= 1_000_000 * (len(peaks) + 1):
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert count == 10_000_000 and peaks[-1] - peaks[0] < 1024  # kilobytes


EXTREME_SAMPLINGS = (
    Sampling(1e-300, top_k=1, top_p=1e-300, min_p=1.0, repetition_penalty=0.01),
    Sampling(100.0, top_k=6, top_p=0.999, repetition_penalty=100.0),
    Sampling(0, repetition_penalty=0.01),
)


@pytest.mark.parametrize("precision", ["int8", "float32"])
@pytest.mark.parametrize("name", ["native", "numpy"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_logits_of_the_largest_accepted_weights_stay_finite(monkeypatch, cell, name, precision):
    """The test setup turns NumPy warnings into errors, so an infinite logit or a difference of infinities fails."""
    monkeypatch.setenv("CHARLOOM_ENGINE", name)
    saved = tiny_saved(cell)
    for part, value in saved.weights.items():
        large = 0.9 * _MAX_SUM / value.shape[-1]
        value[:] = large if part not in ("embedding.weight", "layers.0.weight_ih") else np.sqrt(large) / 10
        value[::2] *= -1
    saved.weights["output.bias"][:] = [0.9 * _MAX_SUM, 0, 0, 0, 0, 0, 0]
    model = Model(saved)
    for sampling in EXTREME_SAMPLINGS:
        pieces = model.pieces(Request("", 20, sampling, seed=1), precision)
        assert len("".join(piece.text for piece in pieces)) == 20
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
