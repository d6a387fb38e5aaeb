"""The engine without Python, built in other ways: for other processors, and under sanitizers.

A small program reads a network that is written here, and prints what it writes; NumPy says what that must be.
"""

import os
import shutil
import subprocess
from itertools import product

import numpy as np
import pytest

from charloom.model.architecture import Architecture
from charloom.model.quantization import Quantized
from charloom.runtime.engine import Cursor
from charloom.runtime.folding import fold
from charloom.runtime.numpy_engine import NumpyEngine
from charloom.runtime.options import Sampling
from charloom.runtime.sampling import inverse_temperature
from conftest import tiny_weights
from test_docs import ROOT

pytestmark = pytest.mark.slow

CELLS = ("gru", "gru_reset_before", "lstm")
STREAMS, LENGTH, WINDOW = 37, 60, 16
SAMPLING = Sampling(0.9, top_k=12, top_p=0.9, min_p=0.01, repetition_penalty=1.25, repetition_window=WINDOW)
BUILDS = {
    "plain": ([], []),
    "address": (["-DCMAKE_CXX_FLAGS=-fsanitize=address,undefined -fno-sanitize-recover=all"], []),
    "thread": (["-DCMAKE_CXX_FLAGS=-fsanitize=thread"], ["setarch", "-R"]),
    "arm": (
        [
            "-DCMAKE_SYSTEM_NAME=Linux",
            "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
            "-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++",
            "-DCMAKE_EXE_LINKER_FLAGS=-static",
        ],
        ["qemu-aarch64", "-cpu", "max"],
    ),
}
NEEDED = {"plain": ["cmake"], "address": ["cmake"], "thread": ["cmake"], "arm": ["cmake", "aarch64-linux-gnu-g++"]}


def isas(build):
    if build == "arm":
        return ["neon", "portable"]
    from charloom import native

    return native.instruction_sets() or ["portable"]


@pytest.fixture(scope="module", params=BUILDS)
def golden(request, tmp_path_factory):
    """The program built one way: (name, how to call it)."""
    options, before = BUILDS[request.param]
    missing = [tool for tool in (*NEEDED[request.param], *before[:1]) if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    folder = tmp_path_factory.mktemp(request.param)
    subprocess.run(["cmake", "-S", ROOT / "native", "-B", folder, *options], check=True, capture_output=True, text=True)
    subprocess.run(["cmake", "--build", folder, "-j2"], check=True, capture_output=True, text=True)
    return request.param, before, folder


def written(network, architecture, precision):
    """The file that the program reads; see native/golden.cpp."""
    sizes = (
        CELLS.index(network.cell),
        precision == "int8",
        architecture.vocabulary_size,
        architecture.hidden_size,
        architecture.num_layers,
    )
    parts = [np.array(sizes, np.int32), network.table]
    for layer in network.layers:
        for part in (layer.input, layer.input_bias, layer.state, layer.candidate, layer.candidate_bias):
            if isinstance(part, Quantized):
                parts += [part.values, part.scales]
            elif part is not None:
                parts.append(part)
    output = network.output
    parts += [output.values, output.scales] if isinstance(output, Quantized) else [output]
    parts.append(network.output_bias)
    parts.append(np.array([STREAMS, LENGTH, 2, SAMPLING.top_k], np.int32))
    numbers = (
        inverse_temperature(SAMPLING.temperature),
        SAMPLING.top_p,
        SAMPLING.min_p,
        SAMPLING.repetition_penalty,
    )
    parts.append(np.array(numbers, np.float32))
    return b"".join(np.ascontiguousarray(part).tobytes() for part in parts)


def expected(network, architecture):
    """What the program must print: each stream's ids and last logits."""
    engine = NumpyEngine(architecture, network)
    logits, state = engine.forward(np.zeros((STREAMS, 1), np.int64), engine.initial_state(STREAMS), last=True)
    seeds = 7 * np.arange(STREAMS, dtype=np.uint64) + np.uint64(1)
    cursor = Cursor(state, logits[:, 0], seeds, 0, np.full((STREAMS, WINDOW), -1, np.int32))
    # the file holds float32 numbers, so the program's shares are those
    sampling = Sampling(
        SAMPLING.temperature,
        SAMPLING.top_k,
        float(np.float32(SAMPLING.top_p)),
        float(np.float32(SAMPLING.min_p)),
        SAMPLING.repetition_penalty,
        WINDOW,
    )
    ids = engine.sample(cursor, LENGTH, sampling).ids
    return ids, cursor.logits


@pytest.mark.parametrize(("cell", "num_layers", "precision"), [*product(CELLS, (1, 2), ("int8", "float32"))])
def test_it_writes_what_numpy_says(golden, tmp_path, cell, num_layers, precision):
    build, before, folder = golden
    architecture = Architecture(70, cell.split("_")[0], 20, 45, num_layers, cell != "gru_reset_before")
    network = fold(architecture, tiny_weights(architecture, spread=0.4), precision)
    path = tmp_path / "network"
    path.write_bytes(written(network, architecture, precision))
    ids, logits = expected(network, architecture)
    for isa in isas(build):
        done = subprocess.run(
            [*before, folder / "golden", path, isa], capture_output=True, text=True, env={**os.environ}
        )
        assert done.returncode == 0, done.stderr[-3000:]
        rows = [line.split() for line in done.stdout.splitlines()]
        found_ids = np.array([row[:LENGTH] for row in rows], np.int32)
        bits = np.array([[int(word, 16) for word in row[LENGTH:]] for row in rows], np.uint32)
        np.testing.assert_array_equal(found_ids, ids)
        if precision == "int8":
            np.testing.assert_array_equal(bits, logits.view(np.uint32))
        else:
            np.testing.assert_allclose(bits.view(np.float32), logits, atol=1e-4)


def test_training_comes_to_the_same_on_every_instruction_set(golden):
    build, before, folder = golden
    sums = []
    for isa in isas(build):
        done = subprocess.run([*before, folder / "golden_training", isa], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        sums.append([float(number) for number in done.stdout.split()])
    float32 = 2 * 5 * 4 * 7 + 4 * 2
    assert len(sums[0]) == float32 + 2 * 4 * 4 * 7
    for other in sums[1:]:
        np.testing.assert_allclose(other[:float32], sums[0][:float32], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(other[float32:], sums[0][float32:], rtol=1e-2, atol=1e-5)
