"""Fold weights for inference: products of constant matrices are computed once.

The embedding, the first layer's input weights and its bias become one table (V, G*H), so that the first layer's
input product is a look-up; second biases that only add to the first are merged into it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charloom.errors import ModelFileError
from charloom.inference.engines.int8_reference import Int8Product
from charloom.model.architecture import Architecture
from charloom.model.quantization import Quantized, quantize

Floats = NDArray[np.float32]
Matrix = Floats | Quantized

_MAX_SUM = 1e35  # two of them, divided by the minimum repetition penalty, 0.01, stay below the maximum of float32


@dataclass(frozen=True)
class FoldedLayer:
    """A folded recurrent layer.

    Attributes:
        input: (G*H, H); None in the first layer, which has the table instead.
        input_bias: (G*H,), with the second bias where that only adds; None in the first layer.
        state: ``weight_hh``, (G*H, H); without its last third where ``candidate`` holds it.
        candidate: The rows of n, (H, H), of a GRU whose reset comes before the product; else None.
        candidate_bias: The second bias of n, (H,), of a GRU whose reset comes after the product; else None.
    """

    input: Matrix | None
    input_bias: Floats | None
    state: Matrix
    candidate: Matrix | None
    candidate_bias: Floats | None


@dataclass(frozen=True)
class FoldedNetwork:
    """A folded model.

    Attributes:
        cell: "gru", "gru_reset_before" or "lstm".
        table: Input projections of the first layer for each character, with bias, (V, G*H).
        layers: The recurrent layers, from the lowest.
        output: (V, H).
        output_bias: (V,).
    """

    cell: str
    table: Floats
    layers: tuple[FoldedLayer, ...]
    output: Matrix
    output_bias: Floats


def fold(architecture: Architecture, weights: Mapping[str, Floats], precision: str) -> FoldedNetwork:
    """Fold the weights of a model.

    Args:
        architecture: The sizes.
        weights: Every parameter of ``architecture.parameter_shapes()``.
        precision: "float32" or "int8".

    Raises:
        ModelFileError: If weights are so large that sums of them overflow.
    """
    _check_sums(weights)
    stored = quantize if precision == "int8" else _plain
    cell = architecture.cell if architecture.cell == "lstm" or architecture.reset_after else "gru_reset_before"
    layers = tuple(_layer(architecture, weights, i, cell, stored) for i in range(architecture.num_layers))
    table = _table(weights, input_bias(architecture, weights, 0), precision)
    return FoldedNetwork(cell, table, layers, stored(weights["output.weight"]), weights["output.bias"])


def _plain(weights: Floats) -> Matrix:
    return weights


def _layer(
    architecture: Architecture,
    weights: Mapping[str, Floats],
    index: int,
    cell: str,
    stored: Callable[[Floats], Matrix],
) -> FoldedLayer:
    split = 2 * architecture.hidden_size  # before it stand r and z, behind it n
    state = weights[f"layers.{index}.weight_hh"]
    return FoldedLayer(
        input=stored(weights[f"layers.{index}.weight_ih"]) if index else None,
        input_bias=input_bias(architecture, weights, index) if index else None,
        state=stored(state[:split] if cell == "gru_reset_before" else state),
        candidate=stored(state[split:]) if cell == "gru_reset_before" else None,
        candidate_bias=weights[f"layers.{index}.bias_hh"][split:] if cell == "gru" else None,
    )


def input_bias(architecture: Architecture, weights: Mapping[str, Floats], index: int) -> Floats:
    """Return the bias of a layer (G*H,), merged with the second bias except in a GRU's candidate gate n.

    Args:
        architecture: The sizes.
        weights: Every parameter of ``architecture.parameter_shapes()``.
        index: Number of the layer, from 0, the lowest.
    """
    bias = weights[f"layers.{index}.bias_ih"].copy()
    if architecture.has_bias_hh:
        split = 2 * architecture.hidden_size
        bias[:split] += weights[f"layers.{index}.bias_hh"][:split]
    return bias


def _table(weights: Mapping[str, Floats], bias: Floats, precision: str) -> Floats:
    embedding, matrix = weights["embedding.weight"], weights["layers.0.weight_ih"]
    if precision == "float32":
        return embedding @ matrix.T + bias
    rows, columns = quantize(embedding), quantize(matrix)
    sums = Int8Product(columns).sums(rows.values.astype(np.float32))
    return sums * (columns.scales * rows.scales[:, None]) + bias


def _check_sums(weights: Mapping[str, Floats]) -> None:
    """Raise an error for weights whose sums could overflow: engines rely on finite numbers."""
    with np.errstate(over="ignore"):
        bounds = {name: float(np.abs(value).sum(axis=-1).max()) for name, value in weights.items()}
        largest = max(*bounds.values(), bounds["embedding.weight"] * bounds["layers.0.weight_ih"])
    if not largest < _MAX_SUM:
        name = max(bounds, key=lambda name: bounds[name])
        raise ModelFileError(
            f"The weights are too large: sums over {name!r} would overflow float32.",
            code="weights_too_large",
            name=name,
        )
