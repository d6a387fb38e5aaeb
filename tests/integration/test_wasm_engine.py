"""The WebAssembly engine, run in Node. It generates exactly the text of the NumPy engine."""

import json
import math
import shutil
import subprocess
from dataclasses import replace
from importlib.resources import files
from itertools import product

import numpy as np
import pytest

from charloom import Vocabulary
from charloom.data.text_format import TextRules
from charloom.inference.engines.folding import fold
from charloom.inference.engines.numpy import NumpyEngine
from charloom.inference.engines.records import RecordEngine
from charloom.inference.generation import cursor_after, prefill, prompt_ids
from charloom.inference.generation_options import MAX_SEED, Sampling
from charloom.inference.model import Model
from charloom.model.architecture import Architecture
from charloom.model.file.model_file import SavedModel
from charloom.web.wasm_model import pack_model
from support.models import tiny_weights
from support.paths import ROOT, SUPPORT

PAGE = files("charloom.web").joinpath("assets", "offline")
CELLS = {"gru": ("gru", True), "gru_reset_before": ("gru", False), "lstm": ("lstm", True)}
LETTERS = "\n abcdefghijklmnopq"  # 19 characters: not a multiple of the block size, 16
MAX_COUNT = 4096  # characters per call of the compiled engine
SAMPLING_OPTIONS = {
    "plain": {"temperature": 0.8},
    "greedy": {"temperature": 0},
    "tiny temperature": {"temperature": 1e-30},
    "top_k": {"temperature": 1.3, "top_k": 5},
    "top_k larger than the vocabulary": {"temperature": 1.3, "top_k": 500},
    "top_p": {"temperature": 1.0, "top_p": 0.7},
    "min_p": {"temperature": 2.0, "min_p": 0.05},
    "repetition penalty": {"temperature": 0.9, "repetition_penalty": 1.5},
    "all": {"temperature": 1.1, "top_k": 9, "top_p": 0.9, "min_p": 0.01, "repetition_penalty": 0.8},
}


def random_model(cell="gru", num_layers=1, hidden_size=37, embedding_size=6, letters=LETTERS, lines=False, spread=0.4):
    """A model with random weights, whose sizes are not multiples of the block size."""
    kind, reset_after = CELLS[cell]
    architecture = Architecture(len(letters), kind, embedding_size, hidden_size, num_layers, reset_after)
    return SavedModel(
        architecture, Vocabulary(letters), tiny_weights(architecture, spread=spread), {}, rules=TextRules(lines=lines)
    )


@pytest.fixture
def run_engine(tmp_path):
    """Run calls of the page's engine with models; see engine_driver.js."""
    if shutil.which("node") is None:
        pytest.skip("not installed: node")

    def call(models, calls, program=None):
        paths = []
        for number, model in enumerate(models):
            paths.append(tmp_path / f"{number}.model")
            paths[-1].write_bytes(pack_model(model) if isinstance(model, SavedModel) else model)
        task = {"engine": str(PAGE / "engine.js"), "program": str(program or PAGE / "engine.wasm")}
        task |= {"models": list(map(str, paths)), "calls": calls}
        result = subprocess.run(
            ["node", SUPPORT / "engine_driver.js"],
            input=json.dumps(task),
            capture_output=True,
            text=True,
            timeout=280,
        )
        if result.returncode:
            raise RuntimeError(result.stderr)
        return json.loads(result.stdout)

    return call


def numpy_engine(model):
    engine = NumpyEngine(model.architecture, fold(model.architecture, model.weights, "int8"))
    return RecordEngine(engine, int(model.vocabulary.encode("\n")[0])) if model.rules.lines else engine


def expected(model, prompt, count, seed, options):
    """The ids that the NumPy engine samples, and their surprisals in bits."""
    engine, sampling, ids = numpy_engine(model), Sampling(**options), prompt_ids(model.vocabulary, prompt)
    cursor = cursor_after(ids, *prefill(engine, ids), sampling, np.array([seed], np.uint64))
    sampled = engine.sample(cursor, count, sampling, log_probs=True)
    return sampled.ids[0].tolist(), -sampled.log_probs[0] / math.log(2)


def as_page_options(options):
    names = {"top_k": "topK", "top_p": "topP", "min_p": "minP", "repetition_penalty": "repetitionPenalty"}
    return {names.get(name, name): value for name, value in options.items()}


def ids_of(model, prompt):
    return model.vocabulary.encode(prompt).tolist()


@pytest.mark.parametrize(("cell", "num_layers"), [*product(CELLS, (1, 2, 3))])
def test_every_cell_and_depth_equals_numpy(run_engine, cell, num_layers):
    model = random_model(cell, num_layers)
    calls = [[0, "begin", ids_of(model, "ab qo")], [0, "sample", 300, {"seed": 11}]]
    sampled = run_engine([model], calls)["results"][1]
    ids, bits = expected(model, "ab qo", 300, 11, {})
    assert sampled["ids"] == ids
    np.testing.assert_allclose(sampled["bits"], bits, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("sizes", [(1, 1), (16, 4), (33, 1100), (130, 3)])
def test_every_size_equals_numpy(run_engine, sizes):
    hidden_size, embedding_size = sizes
    model = random_model("lstm", 2, hidden_size, embedding_size)
    sampled = run_engine([model], [[0, "begin", [3]], [0, "sample", 120, {"seed": 2}]])["results"][1]
    assert sampled["ids"] == expected(model, "b", 120, 2, {})[0]


def test_every_sampling_option_equals_numpy(run_engine):
    model = random_model()
    ids = ids_of(model, "moon" * 20)
    calls = [
        call
        for options in SAMPLING_OPTIONS.values()
        for call in ([0, "begin", ids], [0, "sample", 200, as_page_options(options) | {"seed": 5}])
    ]
    sampled = run_engine([model], calls)["results"][1::2]
    for result, (name, options) in zip(sampled, SAMPLING_OPTIONS.items(), strict=True):
        assert result["ids"] == expected(model, "moon" * 20, 200, 5, options)[0], name


def test_every_seed_equals_numpy(run_engine):
    model, seeds = random_model(), [0, 1, 2**32 - 1, 2**32, MAX_SEED]
    calls = [call for seed in seeds for call in ([0, "begin", []], [0, "sample", 40, {"seed": str(seed)}])]
    sampled = run_engine([model], calls)["results"][1::2]
    assert [result["ids"] for result in sampled] == [
        expected(model, "", 40, seed, {"temperature": 0.8})[0] for seed in seeds
    ]
    assert len({tuple(result["ids"]) for result in sampled}) == len(seeds)


def test_several_calls_continue_one_text(run_engine):
    model, options = random_model(), {"temperature": 1.2, "repetition_penalty": 1.7}
    pieces = [1, 3, 0, 70, 26]
    calls = [
        [0, "begin", [4]],
        *(
            [0, "sample", size, as_page_options(options) | {"seed": 9 if not at else None}]
            for at, size in enumerate(pieces)
        ),
    ]
    sampled = run_engine([model], calls)["results"][1:]
    assert [len(result["ids"]) for result in sampled] == pieces
    assert [one for result in sampled for one in result["ids"]] == expected(model, "c", sum(pieces), 9, options)[0]


def test_more_characters_than_one_call_can_process(run_engine):
    model, prompt = random_model(), "ab cq" * 1000
    calls = [[0, "begin", ids_of(model, prompt)], [0, "sample", MAX_COUNT + 100, {"seed": 4}]]
    assert run_engine([model], calls)["results"][1]["ids"] == expected(model, prompt, MAX_COUNT + 100, 4, {})[0]


def test_without_a_prompt_it_starts_like_generate(run_engine):
    models = random_model(), random_model(letters=" abc"), random_model(letters="xyz")
    calls = [call for at in range(3) for call in ([at, "begin", []], [at, "sample", 60, {"seed": 1}])]
    sampled = run_engine(models, calls)["results"][1::2]
    for result, model in zip(sampled, models, strict=True):
        assert model.vocabulary.decode(result["ids"]) == Model(model).generate(length=60, seed=1, precision="int8")


def test_line_models_reset_at_each_line(run_engine):
    model = random_model(letters="\nabc", lines=True)
    starts = ["", "\n", "ab", "ab\nc"]
    calls = [call for start in starts for call in ([0, "begin", ids_of(model, start)], [0, "sample", 200, {"seed": 6}])]
    calls += [[0, "begin", []], [0, "probabilities"], [0, "read", 1], [0, "read", 0], [0, "probabilities"]]
    results = run_engine([model], calls)["results"]
    for start, result in zip(starts, results[1:8:2], strict=True):
        ids, bits = expected(model, start, 200, 6, {})
        assert result["ids"] == ids
        np.testing.assert_allclose(result["bits"], bits, rtol=2e-6, atol=2e-6)
        assert 0 in ids  # at least one line feed was generated
    assert results[9] == results[12]  # the state after a line feed is the initial one


def test_top_predictions_equal_numpy(run_engine):
    model, text = random_model("lstm", 2), "hello goblin jack"
    calls = [[0, "begin", ids_of(model, text)], [0, "topPredictions", 5], [0, "probabilities"]]
    results = run_engine([model], calls)["results"]
    logits, _ = prefill(numpy_engine(model), model.vocabulary.encode(text))
    probabilities = np.exp(logits[0] - logits.max(), dtype=np.float64)
    probabilities /= probabilities.sum()
    np.testing.assert_allclose(results[2], probabilities, rtol=3e-6)
    best = np.argsort(-probabilities, kind="stable")[:5]
    assert [prediction["id"] for prediction in results[1]] == best.tolist()
    np.testing.assert_allclose([prediction["probability"] for prediction in results[1]], probabilities[best], rtol=3e-6)


def test_surprisals_equal_those_of_score(run_engine):
    model, text = random_model("gru", 2), "a man and a plan\nof bacon"
    score = Model(model).score(text, precision="int8")
    first, *rest = ids_of(model, text)
    results = run_engine([model], [[0, "begin", [first]], *([0, "read", id_] for id_ in rest)])["results"]
    np.testing.assert_allclose(results[1:], score.surprisals, rtol=2e-6, atol=2e-6)


def test_reading_ids_one_by_one_equals_reading_them_at_once(run_engine):
    model, ids = random_model(), ids_of(random_model(), "kneel")
    single = [[0, "begin", ids[:1]], *([0, "read", id_] for id_ in ids[1:]), [0, "sample", 50, {"seed": 3}]]
    whole = [[0, "begin", ids], [0, "sample", 50, {"seed": 3}]]
    results = run_engine([model], [*single, *whole])["results"]
    assert results[len(single) - 1] == results[-1]


@pytest.mark.parametrize("cell", CELLS)
def test_a_saved_state_can_be_restored(run_engine, cell):
    model, options = random_model(cell, 2), {"repetitionPenalty": 1.4, "temperature": 1.5}
    calls = [
        *[
            [0, "begin", [5, 6]],
            [0, "sample", 30, options | {"seed": 8}],
            [0, "save"],
            [0, "probabilities"],
            [0, "sample", 90, options],
        ],
        *[
            [0, "begin", [1]],
            [0, "sample", 20, options | {"seed": 7}],
            [0, "restore"],
            [0, "probabilities"],
            [0, "sample", 90, options],
        ],
    ]
    results = run_engine([model], calls)["results"]
    assert results[8:] == results[3:5]
    assert results[6] != results[1]


def test_byte_models(run_engine):
    from charloom.data.vocabulary.bytes import ByteVocabulary

    vocabulary = ByteVocabulary()
    architecture = Architecture(256, "gru", 8, 24, 1)
    model = SavedModel(architecture, vocabulary, tiny_weights(architecture, spread=0.3), {})
    calls = [[0, "begin", vocabulary.encode("né").tolist()], [0, "sample", 100, {"seed": 2}]]
    assert run_engine([model], calls)["results"][1]["ids"] == expected(model, "né", 100, 2, {})[0]


def test_the_packed_model_does_not_depend_on_the_stored_precision(bundled):
    assert pack_model(replace(bundled, stored_as="float32")) == pack_model(bundled)
    assert len(pack_model(bundled)) < 1_100_000


@pytest.mark.parametrize("damage", ["short", "long", "magic", "empty"])
def test_damaged_models_are_rejected(run_engine, damage):
    whole = pack_model(random_model())
    data = {"short": whole[:-4], "long": whole + bytes(4), "magic": b"NOPE" + whole[4:], "empty": b""}[damage]
    with pytest.raises(RuntimeError, match="damaged"):
        run_engine([data], [])


def test_ids_out_of_range_are_rejected(run_engine):
    with pytest.raises(RuntimeError, match="19 is out of range"):
        run_engine([random_model()], [[0, "begin", [1, 19]]])


def test_the_program_is_small_and_imports_nothing(run_engine):
    program = (PAGE / "engine.wasm").read_bytes()
    assert program.startswith(b"\0asm\1\0\0\0")
    assert len(program) < 50_000
    assert run_engine([], [])["imports"] == []


def test_browser_support_is_detected(run_engine):
    result = run_engine([random_model()], [])
    assert result["supported"] is True
    assert result["sizes"] == [19]


def test_the_bundled_model_generates_the_text_of_the_command_line(run_engine, bundled, cli):
    calls = [[0, "begin", ids_of(bundled, "ROMEO: ")], [0, "sample", 400, {"temperature": 0.7, "seed": 12}]]
    sampled = run_engine([bundled], calls)["results"][1]
    command = ["generate", "-p", "ROMEO: ", "-n", 400, "-t", 0.7, "--seed", 12, "--precision", "int8", "--quiet"]
    assert cli(*command).out == "ROMEO: " + bundled.vocabulary.decode(sampled["ids"]) + "\n"


@pytest.mark.slow
def test_twenty_long_texts_equal_those_of_the_python_api(run_engine, bundled):
    calls = [call for seed in range(20) for call in ([0, "begin", []], [0, "sample", 2000, {"seed": seed}])]
    sampled = run_engine([bundled], calls)["results"][1::2]
    model = Model(bundled)
    for seed, result in enumerate(sampled):
        assert bundled.vocabulary.decode(result["ids"]) == model.generate(length=2000, seed=seed, precision="int8")


@pytest.mark.slow
def test_generation_speed(run_engine, bundled):
    tutorial = random_model("gru", 1, 1024, 256, "".join(map(chr, range(33, 98))), spread=0.05)
    calls = [call for at in (0, 1) for call in ([at, "begin", []], [at, "speed", 5000, 6])]
    small, large = run_engine([bundled, tutorial], calls)["results"][1::2]
    assert small >= 20_000
    assert large >= 5_000


@pytest.mark.slow
def test_the_build_is_reproducible(tmp_path):
    if not (ROOT / ".venv-wasm" / ".ready").is_file() or shutil.which("make") is None:
        pytest.skip("the compiler is not installed: run `make wasm`")
    target = tmp_path / "engine.wasm"
    subprocess.run(["make", "wasm", f"PAGE_ENGINE={target}"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert target.read_bytes() == (PAGE / "engine.wasm").read_bytes()
