"""The engine of web pages: WebAssembly, run by node. It writes to the character what the readable engine writes."""

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
from charloom.inference.engines.folding import fold
from charloom.inference.engines.lines import LineEngine
from charloom.inference.engines.numpy import NumpyEngine
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
LETTERS = "\n abcdefghijklmnopq"  # 19: no whole number of blocks of 16
MOST = 4096  # characters that the compiled part does at once
WAYS = {
    "plain": {"temperature": 0.8},
    "coldest": {"temperature": 0},
    "tiny temperature": {"temperature": 1e-30},
    "top_k": {"temperature": 1.3, "top_k": 5},
    "top_k of more than there are": {"temperature": 1.3, "top_k": 500},
    "top_p": {"temperature": 1.0, "top_p": 0.7},
    "min_p": {"temperature": 2.0, "min_p": 0.05},
    "penalty": {"temperature": 0.9, "repetition_penalty": 1.5},
    "all": {"temperature": 1.1, "top_k": 9, "top_p": 0.9, "min_p": 0.01, "repetition_penalty": 0.8},
}


def made(cell="gru", num_layers=1, hidden_size=37, embedding_size=6, letters=LETTERS, lines=False, spread=0.4):
    """A model of random weights; its sizes are no whole numbers of blocks."""
    kind, reset_after = CELLS[cell]
    architecture = Architecture(len(letters), kind, embedding_size, hidden_size, num_layers, reset_after)
    return SavedModel(architecture, Vocabulary(letters), tiny_weights(architecture, spread=spread), {}, lines=lines)


@pytest.fixture
def in_page(tmp_path):
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
        done = subprocess.run(
            ["node", SUPPORT / "engine_driver.js"],
            input=json.dumps(task),
            capture_output=True,
            text=True,
            timeout=280,
        )
        if done.returncode:
            raise RuntimeError(done.stderr)
        return json.loads(done.stdout)

    return call


def readable(model):
    engine = NumpyEngine(model.architecture, fold(model.architecture, model.weights, "int8"))
    return LineEngine(engine, int(model.vocabulary.encode("\n")[0])) if model.lines else engine


def expected(model, prompt, count, seed, way):
    """What NumPy's engine draws, and the bits of each."""
    engine, sampling, ids = readable(model), Sampling(**way), prompt_ids(model.vocabulary, prompt)
    cursor = cursor_after(ids, *prefill(engine, ids), sampling, np.array([seed], np.uint64))
    drawn = engine.sample(cursor, count, sampling, log_probs=True)
    return drawn.ids[0].tolist(), -drawn.log_probs[0] / math.log(2)


def as_page(way):
    names = {"top_k": "topK", "top_p": "topP", "min_p": "minP", "repetition_penalty": "repetitionPenalty"}
    return {names.get(name, name): value for name, value in way.items()}


def ids_of(model, prompt):
    return model.vocabulary.encode(prompt).tolist()


@pytest.mark.parametrize(("cell", "num_layers"), [*product(CELLS, (1, 2, 3))])
def test_every_kind_of_network_writes_what_numpy_says(in_page, cell, num_layers):
    model = made(cell, num_layers)
    calls = [[0, "begin", ids_of(model, "ab qo")], [0, "sample", 300, {"seed": 11}]]
    drawn = in_page([model], calls)["given"][1]
    ids, bits = expected(model, "ab qo", 300, 11, {})
    assert drawn["ids"] == ids
    np.testing.assert_allclose(drawn["bits"], bits, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("sizes", [(1, 1), (16, 4), (33, 1100), (130, 3)])
def test_every_size_does(in_page, sizes):
    hidden_size, embedding_size = sizes
    model = made("lstm", 2, hidden_size, embedding_size)
    drawn = in_page([model], [[0, "begin", [3]], [0, "sample", 120, {"seed": 2}]])["given"][1]
    assert drawn["ids"] == expected(model, "b", 120, 2, {})[0]


def test_every_way_of_drawing_does(in_page):
    model = made()
    ids = ids_of(model, "moon" * 20)
    calls = [
        call for way in WAYS.values() for call in ([0, "begin", ids], [0, "sample", 200, as_page(way) | {"seed": 5}])
    ]
    drawn = in_page([model], calls)["given"][1::2]
    for found, (name, way) in zip(drawn, WAYS.items(), strict=True):
        assert found["ids"] == expected(model, "moon" * 20, 200, 5, way)[0], name


def test_every_seed_does(in_page):
    model, seeds = made(), [0, 1, 2**32 - 1, 2**32, MAX_SEED]
    calls = [call for seed in seeds for call in ([0, "begin", []], [0, "sample", 40, {"seed": str(seed)}])]
    drawn = in_page([model], calls)["given"][1::2]
    assert [found["ids"] for found in drawn] == [
        expected(model, "", 40, seed, {"temperature": 0.8})[0] for seed in seeds
    ]
    assert len({tuple(found["ids"]) for found in drawn}) == len(seeds)


def test_pieces_are_one_text(in_page):
    model, way = made(), {"temperature": 1.2, "repetition_penalty": 1.7}
    pieces = [1, 3, 0, 70, 26]
    calls = [
        [0, "begin", [4]],
        *([0, "sample", size, as_page(way) | {"seed": 9 if not at else None}] for at, size in enumerate(pieces)),
    ]
    drawn = in_page([model], calls)["given"][1:]
    assert [len(found["ids"]) for found in drawn] == pieces
    assert [one for found in drawn for one in found["ids"]] == expected(model, "c", sum(pieces), 9, way)[0]


def test_more_than_is_done_at_once_does(in_page):
    model, prompt = made(), "ab cq" * 1000
    calls = [[0, "begin", ids_of(model, prompt)], [0, "sample", MOST + 100, {"seed": 4}]]
    assert in_page([model], calls)["given"][1]["ids"] == expected(model, prompt, MOST + 100, 4, {})[0]


def test_without_a_prompt_it_begins_as_generate_does(in_page):
    known = made(), made(letters=" abc"), made(letters="xyz")
    calls = [call for at in range(3) for call in ([at, "begin", []], [at, "sample", 60, {"seed": 1}])]
    drawn = in_page(known, calls)["given"][1::2]
    for found, model in zip(drawn, known, strict=True):
        assert model.vocabulary.decode(found["ids"]) == Model(model).generate(length=60, seed=1, precision="int8")


def test_lines_start_anew(in_page):
    model = made(letters="\nabc", lines=True)
    starts = ["", "\n", "ab", "ab\nc"]
    calls = [call for start in starts for call in ([0, "begin", ids_of(model, start)], [0, "sample", 200, {"seed": 6}])]
    calls += [[0, "begin", []], [0, "probabilities"], [0, "read", 1], [0, "read", 0], [0, "probabilities"]]
    given = in_page([model], calls)["given"]
    for start, found in zip(starts, given[1:8:2], strict=True):
        ids, bits = expected(model, start, 200, 6, {})
        assert found["ids"] == ids
        np.testing.assert_allclose(found["bits"], bits, rtol=2e-6, atol=2e-6)
        assert 0 in ids  # some line ended
    assert given[9] == given[12]  # behind any line feed is the beginning


def test_guesses_are_the_models(in_page):
    model, text = made("lstm", 2), "hello goblin jack"
    calls = [[0, "begin", ids_of(model, text)], [0, "topPredictions", 5], [0, "probabilities"]]
    found = in_page([model], calls)["given"]
    logits, _ = prefill(readable(model), model.vocabulary.encode(text))
    shares = np.exp(logits[0] - logits.max(), dtype=np.float64)
    shares /= shares.sum()
    np.testing.assert_allclose(found[2], shares, rtol=3e-6)
    best = np.argsort(-shares, kind="stable")[:5]
    assert [guess["id"] for guess in found[1]] == best.tolist()
    np.testing.assert_allclose([guess["probability"] for guess in found[1]], shares[best], rtol=3e-6)


def test_costs_are_those_of_score(in_page):
    model, text = made("gru", 2), "a man and a plan\nof bacon"
    score = Model(model).score(text, precision="int8")
    first, *others = ids_of(model, text)
    found = in_page([model], [[0, "begin", [first]], *([0, "read", one] for one in others)])["given"]
    np.testing.assert_allclose(found[1:], score.surprisals, rtol=2e-6, atol=2e-6)


def test_what_it_takes_it_has_read(in_page):
    model, ids = made(), ids_of(made(), "kneel")
    taken = [[0, "begin", ids[:1]], *([0, "read", one] for one in ids[1:]), [0, "sample", 50, {"seed": 3}]]
    whole = [[0, "begin", ids], [0, "sample", 50, {"seed": 3}]]
    given = in_page([model], [*taken, *whole])["given"]
    assert given[len(taken) - 1] == given[-1]


@pytest.mark.parametrize("cell", CELLS)
def test_it_comes_back_to_a_place(in_page, cell):
    model, way = made(cell, 2), {"repetitionPenalty": 1.4, "temperature": 1.5}
    calls = [
        *[
            [0, "begin", [5, 6]],
            [0, "sample", 30, way | {"seed": 8}],
            [0, "keep"],
            [0, "probabilities"],
            [0, "sample", 90, way],
        ],
        *[
            [0, "begin", [1]],
            [0, "sample", 20, way | {"seed": 7}],
            [0, "back"],
            [0, "probabilities"],
            [0, "sample", 90, way],
        ],
    ]
    given = in_page([model], calls)["given"]
    assert given[8:] == given[3:5]
    assert given[6] != given[1]


def test_a_model_of_bytes_is_one_of_256_ids(in_page):
    from charloom.data.vocabulary.bytes import ByteVocabulary

    vocabulary = ByteVocabulary()
    architecture = Architecture(256, "gru", 8, 24, 1)
    model = SavedModel(architecture, vocabulary, tiny_weights(architecture, spread=0.3), {})
    calls = [[0, "begin", vocabulary.encode("né").tolist()], [0, "sample", 100, {"seed": 2}]]
    assert in_page([model], calls)["given"][1]["ids"] == expected(model, "né", 100, 2, {})[0]


def test_stored_as_it_may_be_it_is_the_same_model(bundled):
    assert pack_model(replace(bundled, stored_as="float32")) == pack_model(bundled)
    assert len(pack_model(bundled)) < 1_100_000


@pytest.mark.parametrize("harm", ["short", "long", "mark", "empty"])
def test_what_is_no_whole_model_is_refused(in_page, harm):
    whole = pack_model(made())
    data = {"short": whole[:-4], "long": whole + bytes(4), "mark": b"NOPE" + whole[4:], "empty": b""}[harm]
    with pytest.raises(RuntimeError, match="no whole model"):
        in_page([data], [])


def test_an_unknown_id_is_refused(in_page):
    with pytest.raises(RuntimeError, match="no character 19"):
        in_page([made()], [[0, "begin", [1, 19]]])


def test_the_program_is_small_and_asks_for_nothing(in_page):
    program = (PAGE / "engine.wasm").read_bytes()
    assert program.startswith(b"\0asm\1\0\0\0")
    assert len(program) < 50_000
    assert in_page([], [])["imports"] == []


def test_it_says_whether_it_can_run(in_page):
    found = in_page([made()], [])
    assert found["supported"] is True
    assert found["sizes"] == [19]


def test_the_bundled_model_writes_what_the_command_line_writes(in_page, bundled, cli):
    calls = [[0, "begin", ids_of(bundled, "ROMEO: ")], [0, "sample", 400, {"temperature": 0.7, "seed": 12}]]
    drawn = in_page([bundled], calls)["given"][1]
    command = ["generate", "-p", "ROMEO: ", "-n", 400, "-t", 0.7, "--seed", 12, "--precision", "int8", "--quiet"]
    assert cli(*command).out == "ROMEO: " + bundled.vocabulary.decode(drawn["ids"]) + "\n"


@pytest.mark.slow
def test_twenty_seeds_write_the_same(in_page, bundled):
    calls = [call for seed in range(20) for call in ([0, "begin", []], [0, "sample", 2000, {"seed": seed}])]
    drawn = in_page([bundled], calls)["given"][1::2]
    model = Model(bundled)
    for seed, found in enumerate(drawn):
        assert bundled.vocabulary.decode(found["ids"]) == model.generate(length=2000, seed=seed, precision="int8")


@pytest.mark.slow
def test_it_is_fast(in_page, bundled):
    tutorial = made("gru", 1, 1024, 256, "".join(map(chr, range(33, 98))), spread=0.05)
    calls = [call for at in (0, 1) for call in ([at, "begin", []], [at, "speed", 5000, 6])]
    small, large = in_page([bundled, tutorial], calls)["given"][1::2]
    assert small >= 20_000
    assert large >= 5_000


@pytest.mark.slow
def test_its_source_gives_the_same_bytes(tmp_path):
    if not (ROOT / ".venv-wasm" / ".ready").is_file() or shutil.which("make") is None:
        pytest.skip("the compiler is not there: run `make wasm`")
    target = tmp_path / "engine.wasm"
    subprocess.run(["make", "wasm", f"PAGE_ENGINE={target}"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert target.read_bytes() == (PAGE / "engine.wasm").read_bytes()
