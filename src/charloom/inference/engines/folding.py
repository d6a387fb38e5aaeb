"""Fold weights for inference: compute products and sums of constants once.

The embedding, the input weights and the input bias of the first layer become one table (V, G*H). The input projections
of the first layer are then a table look-up. Recurrent biases that are only added to the input bias are merged into it.
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

_MAX_SUM = 1e35  # 2e35 / 0.01, the minimum repetition penalty, is below the maximum of float32, 3.4e38


@dataclass(frozen=True)
class FoldedLayer:
    """A recurrent layer whose constant sums are precomputed.

    Attributes:
        input: Input weights, (G*H, H); None for the first layer, which uses ``FoldedNetwork.table``.
        input_bias: Input bias, (G*H,), including the recurrent biases that the reset gate does not scale; None for the
            first layer.
        state: Recurrent weights, (G*H, H); (2*H, H) if ``candidate`` holds the weights of the candidate gate.
        candidate: Recurrent weights of the candidate gate n, (H, H), of a GRU that applies the reset gate before the
            matrix product; else None.
        candidate_bias: Recurrent bias of the candidate gate n, (H,), of a GRU that applies the reset gate after the
            matrix product; else None.
    """

    input: Matrix | None
    input_bias: Floats | None
    state: Matrix
    candidate: Matrix | None
    candidate_bias: Floats | None


@dataclass(frozen=True)
class FoldedNetwork:
    """A model whose constant products and sums are precomputed.

    Attributes:
        cell: "gru" (reset gate after the matrix product), "gru_reset_before" or "lstm".
        table: Input projections of the first layer for each character, including the bias, (V, G*H).
        layers: The recurrent layers, lowest first.
        output: Output weights, (V, H).
        output_bias: Output bias, (V,).
    """

    cell: str
    table: Floats
    layers: tuple[FoldedLayer, ...]
    output: Matrix
    output_bias: Floats


def fold(architecture: Architecture, weights: Mapping[str, Floats], precision: str) -> FoldedNetwork:
    """Fold the weights of a model.

    Args:
        architecture: The architecture.
        weights: All parameters of ``architecture.parameter_shapes()``.
        precision: "float32" or "int8".

    Raises:
        ModelFileError: If the weights are so large that sums of them overflow.
    """
    _check_sums(weights)
    convert = quantize if precision == "int8" else _unchanged
    cell = architecture.cell if architecture.cell == "lstm" or architecture.reset_after else "gru_reset_before"
    layers = tuple(_layer(architecture, weights, i, cell, convert) for i in range(architecture.num_layers))
    table = _table(weights, input_bias(architecture, weights, 0), precision)
    return FoldedNetwork(cell, table, layers, convert(weights["output.weight"]), weights["output.bias"])


def _unchanged(weights: Floats) -> Matrix:
    return weights


def _layer(
    architecture: Architecture,
    weights: Mapping[str, Floats],
    index: int,
    cell: str,
    convert: Callable[[Floats], Matrix],
) -> FoldedLayer:
    split = 2 * architecture.hidden_size  # rows of r and z are before it, rows of n after it
    state = weights[f"layers.{index}.weight_hh"]
    return FoldedLayer(
        input=convert(weights[f"layers.{index}.weight_ih"]) if index else None,
        input_bias=input_bias(architecture, weights, index) if index else None,
        state=convert(state[:split] if cell == "gru_reset_before" else state),
        candidate=convert(state[split:]) if cell == "gru_reset_before" else None,
        candidate_bias=weights[f"layers.{index}.bias_hh"][split:] if cell == "gru" else None,
    )


def input_bias(architecture: Architecture, weights: Mapping[str, Floats], index: int) -> Floats:
    """Return the input bias of a layer, (G*H,), plus the recurrent bias except in the candidate gate n of a GRU.

    Args:
        architecture: The architecture.
        weights: All parameters of ``architecture.parameter_shapes()``.
        index: Number of the layer, from 0, the lowest.
    """
    bias = weights[f"layers.{index}.bias_ih"].copy()
    if architecture.has_bias_hh:
        split = 2 * architecture.hidden_size
        bias[:split] += weights[f"layers.{index}.bias_hh"][:split]
    return bias


def _table(weights: Mapping[str, Floats], bias: Floats, precision: str) -> Floats:
    """Compute the input projections of the first layer for every character, (V, G*H)."""
    embedding, matrix = weights["embedding.weight"], weights["layers.0.weight_ih"]
    if precision == "float32":
        return embedding @ matrix.T + bias
    rows, columns = quantize(embedding), quantize(matrix)
    sums = Int8Product(columns).sums(rows.values.astype(np.float32))
    return sums * (columns.scales * rows.scales[:, None]) + bias


def _check_sums(weights: Mapping[str, Floats]) -> None:
    """Raise an error if sums of the weights could overflow, because engines rely on finite numbers."""
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
