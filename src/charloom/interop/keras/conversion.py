"""Convert the weights of Keras layers to charloom's layout, and back.

Keras stores matrices of shape (inputs, G*H) with a GRU's gates in the order z, r, h. charloom, like PyTorch, stores
(G*H, inputs) with the order r, z, n. An LSTM's gates have the same order in both (i, f, c, o and i, f, g, o). A GRU
with ``reset_after`` has two rows of biases. In both, z is the share of the old state that is kept.

Source: the documentation of ``keras.layers.GRU`` and ``keras.layers.LSTM``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from charloom._util.printable import quoted
from charloom.errors import ModelFileError
from charloom.interop.keras.config import RecurrentConfig, StackConfig
from charloom.interop.keras.reader import LayerWeights
from charloom.model.architecture import GATES, Architecture

Floats = NDArray[np.float32]

_CELLS = {gates: cell for cell, gates in GATES.items()}


@dataclass(frozen=True)
class KerasStack:
    """The layers of a model with their weights.

    Attributes:
        embedding: (V, E).
        recurrent: The recurrent layers, from bottom to top.
        output: The dense layer: its matrix (H, V), and its bias (V,) if it has one.
    """

    embedding: Floats = field(repr=False)
    recurrent: tuple[LayerWeights, ...]
    output: LayerWeights


def identify_layers(layers: Sequence[LayerWeights], config: StackConfig | None) -> KerasStack:
    """Identify layers by the shapes of their weights, and order them.

    Args:
        layers: The layers with weights, in the model's order or sorted by name.
        config: The configuration of the model; None if the file has none.

    Raises:
        ModelFileError: If the layers are not an embedding, recurrent layers and a dense layer, or do not match
            ``config``.
    """
    for layer in layers:
        if not all(np.isfinite(array).all() for array in layer.arrays):
            raise ModelFileError(
                f"The weights of layer {quoted(layer.name)} contain NaN or infinity.",
                code="nonfinite_weights",
                layer=layer.name,
            )
    recurrent = [layer for layer in layers if _is_recurrent(layer)]
    rest = [layer for layer in layers if not _is_recurrent(layer)]
    for layer in rest:
        shapes = [array.shape for array in layer.arrays]
        if not (len(shapes[0]) == 2 and (shapes[1:] == [] or shapes[1:] == [shapes[0][1:]])):
            raise ModelFileError(
                f"Unsupported layer {quoted(layer.name)} with weights of shape {shapes}; charloom supports Embedding, "
                "GRU, LSTM and Dense.",
                code="unsupported_layer",
                layer=layer.name,
            )
    embedding, output = _embedding_and_output(rest, recurrent, config)
    if config is not None:
        _check_recurrent(recurrent, config.recurrent)
    width = recurrent[0].arrays[0].shape[0]
    table = np.eye(width, dtype=np.float32) if embedding is None else embedding.arrays[0]
    _check_sizes(table, recurrent, output)
    return KerasStack(table, tuple(recurrent), output)


def _is_recurrent(layer: LayerWeights) -> bool:
    """Return whether the weights are a kernel (inputs, G*H), a recurrent kernel (H, G*H), and optionally a bias."""
    if len(layer.arrays) not in (2, 3) or any(array.ndim != 2 for array in layer.arrays[:2]):
        return False
    (_, rows), (hidden, columns) = layer.arrays[0].shape, layer.arrays[1].shape
    return bool(rows == columns and columns in (hidden * gates for gates in _CELLS))


def _embedding_and_output(
    rest: list[LayerWeights], recurrent: list[LayerWeights], config: StackConfig | None
) -> tuple[LayerWeights | None, LayerWeights]:
    """Return the embedding (None if there is none) and the dense layer, in whatever order the file lists them."""
    if not recurrent or not 1 <= len(rest) <= 2:
        names = ", ".join(quoted(layer.name) for layer in [*rest, *recurrent][:6])
        raise ModelFileError(
            f"The model's layers with weights are {names}; charloom supports one Embedding, one or more GRU or LSTM, "
            "and one Dense.",
            code="unsupported_architecture",
            layers=[layer.name for layer in [*rest, *recurrent]],
        )
    if config is not None and (len(rest) == 2) != (config.embedding is not None):
        raise ModelFileError("The weights do not match the layers of the configuration.", code="keras_weights_mismatch")
    if len(rest) == 1:
        return None, rest[0]
    first, second = sorted(rest, key=lambda layer: (len(layer.arrays), "embed" not in layer.name.lower()))
    if len(first.arrays) != 1:
        raise ModelFileError(
            f"The layers {quoted(first.name)} and {quoted(second.name)} are both Dense; charloom supports one.",
            code="unsupported_architecture",
            layers=[first.name, second.name],
        )
    return first, second


def _check_recurrent(layers: list[LayerWeights], configs: Sequence[RecurrentConfig]) -> None:
    if len(layers) != len(configs):
        raise ModelFileError(
            f"The configuration has {len(configs)} recurrent layers, but the file has weights for {len(layers)}.",
            code="keras_weights_mismatch",
        )
    for layer, config in zip(layers, configs, strict=True):
        hidden, rows = layer.arrays[1].shape
        same = GATES[config.cell] * hidden == rows and config.units in (None, hidden)
        if not same or bool(config.use_bias) != (len(layer.arrays) == 3):
            raise ModelFileError(
                f"The weights of layer {quoted(config.name)} do not match its configuration.",
                code="keras_weights_mismatch",
                layer=config.name,
            )


def _check_sizes(table: Floats, recurrent: Sequence[LayerWeights], output: LayerWeights) -> None:
    """Raise ``ModelFileError`` if the layers' sizes do not match each other or are not supported."""
    vocabulary_size, width = table.shape
    hidden, rows = recurrent[0].arrays[1].shape
    for layer in recurrent:
        inputs, (units, its_rows) = layer.arrays[0].shape[0], layer.arrays[1].shape
        if (units, its_rows) != (hidden, rows):
            raise ModelFileError(
                f"Layer {quoted(layer.name)} has {units} units and {its_rows // units} gates, but the first recurrent "
                f"layer has {hidden} and {rows // hidden}. In charloom, all recurrent layers have the same kind and "
                "size.",
                code="unsupported_architecture",
                layer=layer.name,
            )
        if inputs != width:
            raise ModelFileError(
                f"Layer {quoted(layer.name)} expects {inputs} inputs, but the layer below it has {width} outputs.",
                code="keras_weights_mismatch",
                layer=layer.name,
            )
        width = units
    if output.arrays[0].shape != (hidden, vocabulary_size):
        raise ModelFileError(
            f"Layer {quoted(output.name)} has the shape {output.arrays[0].shape}; expected hidden size by vocabulary "
            f"size, {(hidden, vocabulary_size)}.",
            code="keras_weights_mismatch",
            layer=output.name,
        )


def architecture_and_weights(stack: KerasStack, config: StackConfig | None) -> tuple[Architecture, dict[str, Floats]]:
    """Return the architecture and weights of the charloom model.

    Raises:
        SettingsError: If it is larger than charloom supports.
        ModelFileError: If the shape of a bias is unsupported, or layers differ in ``reset_after``.
    """
    hidden, rows = stack.recurrent[0].arrays[1].shape
    cell = _CELLS[rows // hidden]
    forms = [
        _reset_after(layer, cell, config.recurrent[i] if config else None) for i, layer in enumerate(stack.recurrent)
    ]
    if len(set(forms)) > 1:
        raise ModelFileError(
            "The GRU layers differ in reset_after; in charloom, it is the same for all layers.",
            code="unsupported_architecture",
        )
    vocabulary_size, width = stack.embedding.shape
    architecture = Architecture(vocabulary_size, cell, width, hidden, len(stack.recurrent), forms[0])
    weights = {"embedding.weight": stack.embedding}
    for i, layer in enumerate(stack.recurrent):
        weights |= {f"layers.{i}.{name}": value for name, value in _layer(layer, architecture).items()}
    matrix, *bias = stack.output.arrays
    weights |= {
        "output.weight": matrix.T.copy(),
        "output.bias": bias[0] if bias else np.zeros(vocabulary_size, np.float32),
    }
    return architecture, weights


def _reset_after(layer: LayerWeights, cell: str, config: RecurrentConfig | None) -> bool:
    """Return ``reset_after`` of a GRU, derived from the shape of its bias; True for an LSTM."""
    rows = layer.arrays[1].shape[1]
    bias = layer.arrays[2].shape if len(layer.arrays) == 3 else None
    if bias not in ((rows,), (2, rows), None) or (cell == "lstm" and bias == (2, rows)):
        hint = ""
        if bias == (2 * rows,):
            hint = " It is from a CuDNN layer: in Keras 2, load it into a GRU or LSTM and save that model."
        raise ModelFileError(
            f"The bias of layer {quoted(layer.name)} has the shape {bias}; expected {(rows,)} or {(2, rows)}.{hint}",
            code="unsupported_layer",
            layer=layer.name,
        )
    if cell == "lstm":
        return True
    if bias is None:
        if config is None or not isinstance(config.reset_after, bool):
            raise ModelFileError(
                f"Layer {quoted(layer.name)} is a GRU without bias, and the file does not state whether reset_after is "
                "true. Save the whole model with model.save('model.keras').",
                code="unknown_reset_after",
                layer=layer.name,
            )
        return config.reset_after
    return bias == (2, rows)


def _layer(layer: LayerWeights, architecture: Architecture) -> dict[str, Floats]:
    kernel, recurrent, *bias = layer.arrays
    rows = recurrent.shape[1]
    biases = np.atleast_2d(bias[0]) if bias else np.zeros((2, rows), np.float32)
    weights = {"weight_ih": kernel.T, "weight_hh": recurrent.T, "bias_ih": biases[0]}
    if architecture.has_bias_hh:
        weights["bias_hh"] = biases[1]
    return {name: swap_gates(value, architecture.cell) for name, value in weights.items()}


def swap_gates(value: Floats, cell: str) -> Floats:
    """Swap a GRU's gates z and r, which converts between Keras' and charloom's order. An LSTM is copied unchanged."""
    if cell == "lstm":
        return value.copy()
    first, second, third = np.split(value, 3)
    return np.concatenate([second, first, third])
