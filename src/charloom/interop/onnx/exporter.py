"""Export a model as two ONNX graphs: one for a single step, one for a window of characters.

The step graph uses basic operators only (gather, matrix product, sigmoid, tanh), which every runtime supports. The
window graph uses ONNX's GRU and LSTM operators. Both take and return the state, and store the vocabulary in their
metadata.

Source: the operators ``GRU`` and ``LSTM`` of https://onnx.ai/onnx/operators.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom._util.atomic_io import write_atomically
from charloom._util.extras import require_extra
from charloom._version import __version__
from charloom.errors import ModelFileError
from charloom.inference.engines.folding import FoldedLayer, FoldedNetwork, fold
from charloom.interop.onnx.graph import Graph
from charloom.model.file.model_file import SavedModel
from charloom.model.file.run_folder import check_new_file

MAX_BYTES = 2_000_000_000
"""Maximum size of an ONNX file, which is a protobuf message, in bytes."""

# ONNX's gate order, z, r, h and i, o, f, c, as indices into charloom's, r, z, n and i, f, g, o
_ORDERS = {"gru": (1, 0, 2), "lstm": (0, 3, 1, 2)}
_ENTRY = "charloom"  # key of the metadata


def write_onnx(path: Path, saved: SavedModel, *, force: bool = False) -> list[Path]:
    """Write a model as two self-contained ONNX files with float32 weights.

    The graph at ``path`` computes one step: ``ids`` (B,), ``state`` (L, S, B, H) → ``logits`` (B, V), ``next_state``.
    The graph in ``NAME.window.onnx`` computes a window: ``ids`` (B, T), ``state`` → ``logits`` (B, T, V),
    ``next_state``. The initial state is zeros. The metadata entry ``charloom`` is JSON with version, vocabulary (in the
    order of ids), unit, lines and facts.

    Args:
        path: The output file for the step graph.
        saved: The model.
        force: Whether an existing file for the window graph is overwritten.

    Returns:
        The files written.

    Raises:
        MissingExtraError: If onnx is not installed.
        ModelFileError: If the model exceeds the maximum size of an ONNX file.
        InputError: If the file for the window graph already exists and ``force`` is not set.
        OSError: If a file cannot be written.
    """
    require_extra("Writing ONNX", "onnx", "onnx")
    window_path = path.with_name(f"{path.stem}.window{path.suffix}")
    check_new_file(window_path, force)
    a = saved.architecture
    table = 4 * a.vocabulary_size * len(saved.weights["layers.0.bias_ih"])  # replaces the embedding in the step graph
    if (needed := 4 * a.num_parameters + table) > MAX_BYTES:
        raise ModelFileError(
            f"The model would take {needed:,} bytes as ONNX; the maximum is {MAX_BYTES:,}. Export it with --to keras "
            "instead.",
            code="too_large_for_onnx",
            size=needed,
            maximum=MAX_BYTES,
        )
    written = {path: _step(saved), window_path: _window(saved)}
    for place, data in written.items():
        write_atomically(place, data)
    return list(written)


def _description(saved: SavedModel) -> dict[str, str]:
    vocabulary = saved.vocabulary
    description = {
        "version": __version__,
        "vocabulary": list(vocabulary.characters),
        "unit": vocabulary.unit,
        "lines": saved.rules.lines,
        **{name: value for name, value in saved.rules.to_dict().items() if name != "lines"},
        "facts": dict(saved.facts),
    }
    return {_ENTRY: json.dumps(description, sort_keys=True, allow_nan=False)}


def _step(saved: SavedModel) -> bytes:
    """Build the graph for one step: one character of each text."""
    a = saved.architecture
    network = fold(a, saved.weights, "float32")
    graph = Graph("step", ("B",), a, logits=("B", a.vocabulary_size))
    rows = graph.add("Gather", graph.constant("table", network.table), "ids")  # (B, G*H)
    layers = graph.split("state", a.num_layers)
    after, hidden = [], ""
    for i, (layer, before) in enumerate(zip(network.layers, layers, strict=True)):
        parts = [graph.squeeze(part) for part in graph.split(before, a.state_parts, axis=1)]
        if i:
            rows = graph.linear(hidden, f"layers.{i}.input", layer.input, layer.input_bias)
        parts = _cell(graph, network, layer, f"layers.{i}", rows, parts)
        hidden = parts[0]
        after.append(graph.stack(parts))
    graph.add("Concat", *after, output="next_state", axis=0)
    graph.linear(hidden, "output", network.output, network.output_bias, output="logits")
    return graph.serialize(_description(saved))


def _cell(
    graph: Graph, network: FoldedNetwork, layer: FoldedLayer, name: str, rows: str, parts: Sequence[str]
) -> list[str]:
    """Add one step of a layer and return its next state, (B, H): the hidden state and, for an LSTM, the cell state."""
    hidden = parts[0]
    if network.cell == "lstm":
        return _lstm_cell(graph, graph.add("Add", rows, graph.linear(hidden, f"{name}.state", layer.state)), parts[1])
    r_rows, z_rows, n_rows = graph.split(rows, 3, axis=1)
    if network.cell == "gru":
        r_state, z_state, n_state = graph.split(graph.linear(hidden, f"{name}.state", layer.state), 3, axis=1)
        n_state = graph.add("Add", n_state, graph.constant(f"{name}.candidate_bias", layer.candidate_bias))
    else:
        r_state, z_state = graph.split(graph.linear(hidden, f"{name}.state", layer.state), 2, axis=1)
    r = graph.add("Sigmoid", graph.add("Add", r_rows, r_state))
    z = graph.add("Sigmoid", graph.add("Add", z_rows, z_state))
    if network.cell == "gru":
        inner = graph.add("Mul", r, n_state)
    else:
        inner = graph.linear(graph.add("Mul", r, hidden), f"{name}.candidate", layer.candidate)
    n = graph.add("Tanh", graph.add("Add", n_rows, inner))
    return [graph.add("Add", n, graph.add("Mul", z, graph.add("Sub", hidden, n)))]  # (1 - z) * n + z * h


def _lstm_cell(graph: Graph, gates: str, cell: str) -> list[str]:
    i, f, g, o = graph.split(gates, 4, axis=1)
    kept = graph.add("Mul", graph.add("Sigmoid", f), cell)
    new = graph.add("Mul", graph.add("Sigmoid", i), graph.add("Tanh", g))
    after = graph.add("Add", kept, new)
    return [graph.add("Mul", graph.add("Sigmoid", o), graph.add("Tanh", after)), after]


def _window(saved: SavedModel) -> bytes:
    """Build the graph for a window: T characters of each text."""
    a, weights = saved.architecture, saved.weights
    graph = Graph("window", ("B", "T"), a, logits=("B", "T", a.vocabulary_size))
    by_time = graph.add("Transpose", "ids", perm=[1, 0])
    inputs = graph.add("Gather", graph.constant("embedding", weights["embedding.weight"]), by_time)  # (T, B, E)
    after = []
    for i, before in enumerate(graph.split("state", a.num_layers)):
        parts = graph.split(before, a.state_parts, axis=1)
        states = [graph.squeeze(part, axis=0) for part in parts]  # (1, B, H): one direction
        outputs = _recurrent(graph, saved, i, inputs, states)
        inputs = graph.squeeze(outputs[0], axis=1)  # (T, 1, B, H): without the direction
        after.append(graph.add("Unsqueeze", graph.concatenate(outputs[1:]), graph.constant_ints(0)))
    graph.add("Concat", *after, output="next_state", axis=0)
    logits = graph.add("MatMul", inputs, graph.constant("output", weights["output.weight"].T))
    biased = graph.add("Add", logits, graph.constant("output.bias", weights["output.bias"]))
    graph.add("Transpose", biased, output="logits", perm=[1, 0, 2])
    return graph.serialize(_description(saved))


def _recurrent(graph: Graph, saved: SavedModel, index: int, inputs: str, states: Sequence[str]) -> list[str]:
    """Add a layer over a window. Return its outputs (T, 1, B, H) and the parts of its final state, (1, B, H) each."""
    a, layer = saved.architecture, f"layers.{index}."
    first = saved.weights[layer + "bias_ih"]
    second = saved.weights.get(layer + "bias_hh", np.zeros_like(first))
    both = np.concatenate([_reorder_gates(first, a.cell), _reorder_gates(second, a.cell)])
    matrices = [
        graph.constant(layer + kind, _reorder_gates(saved.weights[layer + kind], a.cell)[None])
        for kind in ("weight_ih", "weight_hh")
    ]
    form: dict[str, Any] = {"linear_before_reset": int(a.reset_after)} if a.cell == "gru" else {}
    names = [inputs, *matrices, graph.constant(layer + "bias", both[None]), "", *states]  # "": no lengths
    return graph.add_many(a.cell.upper(), names, 1 + a.state_parts, hidden_size=a.hidden_size, **form)


def _reorder_gates(value: NDArray[np.float32], cell: str) -> NDArray[np.float32]:
    parts: list[Any] = np.split(value, len(_ORDERS[cell]))
    return np.concatenate([parts[i] for i in _ORDERS[cell]])
