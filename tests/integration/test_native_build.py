"""The engine built without Python: for other processors, and with sanitizers.

A test writes a network to a file. A small C++ program reads it and prints the generated ids and logits, which must
equal those of the NumPy engine.
"""

import os
import shutil
import subprocess
from itertools import product

import numpy as np
import pytest

from charloom.inference.engines.base import Cursor
from charloom.inference.engines.folding import FoldedLayer, FoldedNetwork, fold
from charloom.inference.engines.numpy import NumpyEngine
from charloom.inference.generation_options import Sampling
from charloom.inference.sampling import inverse_temperature
from charloom.model.architecture import Architecture
from charloom.model.quantization import Quantized
from support.models import tiny_weights
from support.paths import ROOT

pytestmark = pytest.mark.slow

CELLS = ("gru", "gru_reset_before", "lstm")
STREAMS, LENGTH, WINDOW = 37, 60, 16
SAMPLING = Sampling(0.9, top_k=12, top_p=0.9, min_p=0.01, repetition_penalty=1.25, repetition_window=WINDOW)
SANITIZED = "-fsanitize=address,undefined,float-cast-overflow"  # the last is not part of "undefined"
BUILDS = {
    "plain": ([], []),
    "address": (
        ["-DCMAKE_BUILD_TYPE=Sanitized", f"-DCMAKE_CXX_FLAGS=-O1 -g {SANITIZED} -fno-sanitize-recover=all"],
        [],
    ),
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
    """The test program of one build: (name of the build, launcher command, build folder)."""
    options, launcher = BUILDS[request.param]
    missing = [tool for tool in (*NEEDED[request.param], *launcher[:1]) if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    folder = tmp_path_factory.mktemp(request.param)
    subprocess.run(["cmake", "-S", ROOT / "native", "-B", folder, *options], check=True, capture_output=True, text=True)
    subprocess.run(["cmake", "--build", folder, "-j2"], check=True, capture_output=True, text=True)
    return request.param, launcher, folder


def network_file(network, architecture, precision, streams=STREAMS, length=LENGTH, sampling=SAMPLING):
    """Return the content of the file that the program reads; see native/test_tools/golden.cpp."""
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
    parts.append(np.array([streams, length, 2, sampling.top_k], np.int32))
    numbers = (
        inverse_temperature(sampling.temperature),
        sampling.top_p,
        sampling.min_p,
        sampling.repetition_penalty,
    )
    parts.append(np.array(numbers, np.float32))
    return b"".join(np.ascontiguousarray(part).tobytes() for part in parts)


def expected(network, architecture):
    """Return what the program must print: each stream's ids and last logits."""
    engine = NumpyEngine(architecture, network)
    logits, state = engine.forward(np.zeros((STREAMS, 1), np.int64), engine.initial_state(STREAMS), last=True)
    seeds = 7 * np.arange(STREAMS, dtype=np.uint64) + np.uint64(1)
    cursor = Cursor(state, logits[:, 0], seeds, recent=np.full((STREAMS, WINDOW), -1, np.int32))
    # the file contains float32 numbers, so round top_p and min_p like the program
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
def test_generated_ids_and_logits_equal_numpy(golden, tmp_path, cell, num_layers, precision):
    build, launcher, folder = golden
    architecture = Architecture(70, cell.split("_")[0], 20, 45, num_layers, cell != "gru_reset_before")
    network = fold(architecture, tiny_weights(architecture, spread=0.4), precision)
    path = tmp_path / "network"
    path.write_bytes(network_file(network, architecture, precision))
    ids, logits = expected(network, architecture)
    for isa in isas(build):
        done = subprocess.run(
            [*launcher, folder / "golden", path, isa], capture_output=True, text=True, env={**os.environ}
        )
        assert done.returncode == 0, done.stderr[-3000:]
        rows = [line.split() for line in done.stdout.splitlines()]
        printed_ids = np.array([row[:LENGTH] for row in rows], np.int32)
        bits = np.array([[int(word, 16) for word in row[LENGTH:]] for row in rows], np.uint32)
        np.testing.assert_array_equal(printed_ids, ids)
        if precision == "int8":
            np.testing.assert_array_equal(bits, logits.view(np.uint32))
        else:
            np.testing.assert_allclose(bits.view(np.float32), logits, atol=1e-4)


EXTREMES = {  # float32 numbers; bytes and their scales
    "zeros": ([0.0, -0.0], [0], [0.0]),
    "denormals": ([1e-40, -1e-45, 1.2e-38], [-127, 127], [1e-40, 1e-45]),
    "huge": ([1e30, -1e30, 0.0, 9e34], [-128, 127], [1e30, 9e30, 0.0]),
    "minus 128": ([-1e30], [-128], [1e30]),
    "mixed": ([1e30, -1e30, 1e-40, 0.0, 1.0], [-128, -1, 0, 127], [1e30, 1e-40, 0.0, 1.0]),
}
HARSH = (
    Sampling(1e-300, top_k=1, top_p=1e-300, min_p=1.0, repetition_penalty=0.01, repetition_window=WINDOW),
    Sampling(100.0, top_k=65_536, top_p=0.999, min_p=0.0, repetition_penalty=100.0, repetition_window=WINDOW),
)
SHAPES = ((1, 1, 1), (2, 1, 2), (3, 17, 1), (70, 31, 2), (65_536, 3, 1))  # V, H, L; H is not a multiple of 4 or 16


def extreme(cell, precision, kind, vocabulary, hidden, num_layers):
    """Return a network with the most extreme numbers for which all sums stay finite."""
    rng = np.random.default_rng(hidden)
    floats, whole, scales = EXTREMES[kind]

    def vector(*shape):
        return rng.choice(np.array(floats, np.float32), shape)

    def matrix(*shape):
        if precision == "float32":
            return vector(*shape)
        return Quantized(
            rng.choice(np.array(whole, np.int8), shape), rng.choice(np.array(scales, np.float32), shape[0])
        )

    gates = 4 if cell == "lstm" else 3
    reset_before = cell == "gru_reset_before"
    layers = tuple(
        FoldedLayer(
            matrix(gates * hidden, hidden) if i else None,
            vector(gates * hidden) if i else None,
            matrix((2 if reset_before else gates) * hidden, hidden),
            matrix(hidden, hidden) if reset_before else None,
            vector(hidden) if cell == "gru" else None,
        )
        for i in range(num_layers)
    )
    table = vector(vocabulary, gates * hidden)
    return FoldedNetwork(cell, table, layers, matrix(vocabulary, hidden), vector(vocabulary))


@pytest.mark.parametrize("precision", ["int8", "float32"])
@pytest.mark.parametrize("cell", CELLS)
def test_extreme_weights_cause_no_errors(golden, tmp_path, report_trials, cell, precision):
    """Sanitizer findings end the program; its output is valid ids and finite logits."""
    build, launcher, folder = golden
    if build != "address":
        pytest.skip("runs only in the build with the address and undefined behavior sanitizers")
    path, tried = tmp_path / "network", 0
    for kind, (vocabulary, hidden, num_layers), sampling in product(EXTREMES, SHAPES, HARSH):
        architecture = Architecture(vocabulary, cell.split("_")[0], 1, hidden, num_layers, cell != "gru_reset_before")
        network = extreme(cell, precision, kind, vocabulary, hidden, num_layers)
        streams = 2 if vocabulary > 1000 else STREAMS
        length = 2 if vocabulary > 1000 else 20
        path.write_bytes(network_file(network, architecture, precision, streams, length, sampling))
        for isa in isas(build):
            done = subprocess.run([*launcher, folder / "golden", path, isa], capture_output=True, text=True)
            assert done.returncode == 0, (kind, vocabulary, hidden, isa, done.stderr[-3000:])
            rows = [line.split() for line in done.stdout.splitlines()]
            ids = np.array([row[:length] for row in rows], np.int64)
            bits = np.array([[int(word, 16) for word in row[length:]] for row in rows], np.uint32)
            assert ids.shape == (streams, length) and ids.min() >= 0 and ids.max() < vocabulary
            assert np.isfinite(bits.view(np.float32)).all(), (kind, vocabulary, hidden, isa)
            tried += 1
    report_trials(
        "hostile_model_files",
        "the compiled engine under ASan and UBSan with extreme weights",
        tried,
        "no errors",
        variant=f"{cell}, {precision}",
    )


def test_training_kernels_agree_on_all_instruction_sets(golden):
    build, launcher, folder = golden
    sums = []
    for isa in isas(build):
        done = subprocess.run([*launcher, folder / "golden_training", isa], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        sums.append([float(number) for number in done.stdout.split()])
    float32 = 2 * 5 * 4 * 7 + 4 * 3
    assert len(sums[0]) == float32 + 2 * 4 * 4 * 7 + 4 * 3
    for other in sums[1:]:
        np.testing.assert_allclose(other[:float32], sums[0][:float32], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(other[float32:], sums[0][float32:], rtol=1e-2, atol=1e-5)
