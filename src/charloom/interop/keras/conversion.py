"""Convert the weights of Keras layers to charloom's layout, and back.

Keras multiplies rows by matrices (inputs, G*H) and has a GRU's gates in the order z, r, h; charloom's matrices are
(G*H, inputs) with r, z, n, as PyTorch's. An LSTM's i, f, c, o are i, f, g, o. A GRU with ``reset_after`` has
two rows of biases. The meaning of z is the same: it keeps the old state.

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
        recurrent: The recurrent layers, from the lowest.
        output: The matrix (H, V) of the dense layer, and its bias (V,) if it has one.
    """

    embedding: Floats = field(repr=False)
    recurrent: tuple[LayerWeights, ...]
    output: LayerWeights


def identify_layers(layers: Sequence[LayerWeights], config: StackConfig | None) -> KerasStack:
    """Identify layers by the shapes of their weights, and order them.

    Args:
        layers: In the order of the model, or by name.
        config: The configuration of the model; None if the file has none.

    Raises:
        ModelFileError: If they are not an embedding, recurrent layers and a dense layer, or not those configured.
    """
    for layer in layers:
        if not all(np.isfinite(array).all() for array in layer.arrays):
            raise ModelFileError(
                f"the weights of its layer {quoted(layer.name)} hold a number that is NaN or infinite."
            )
    recurrent = [layer for layer in layers if _is_recurrent(layer)]
    rest = [layer for layer in layers if not _is_recurrent(layer)]
    for layer in rest:
        shapes = [array.shape for array in layer.arrays]
        if not (len(shapes[0]) == 2 and (shapes[1:] == [] or shapes[1:] == [shapes[0][1:]])):
            raise ModelFileError(f"its layer {quoted(layer.name)} is none that charloom has: its weights are {shapes}.")
    embedding, output = _embedding_and_output(rest, recurrent, config)
    if config is not None:
        _check_recurrent(recurrent, config.recurrent)
    width = recurrent[0].arrays[0].shape[0]
    table = np.eye(width, dtype=np.float32) if embedding is None else embedding.arrays[0]
    _check_sizes(table, recurrent, output)
    return KerasStack(table, tuple(recurrent), output)


def _is_recurrent(layer: LayerWeights) -> bool:
    """Whether there are a kernel (inputs, G*H), a recurrent kernel (H, G*H), and perhaps a bias."""
    if len(layer.arrays) not in (2, 3) or any(array.ndim != 2 for array in layer.arrays[:2]):
        return False
    (_, rows), (hidden, columns) = layer.arrays[0].shape, layer.arrays[1].shape
    return bool(rows == columns and columns in (hidden * gates for gates in _CELLS))


def _embedding_and_output(
    rest: list[LayerWeights], recurrent: list[LayerWeights], config: StackConfig | None
) -> tuple[LayerWeights | None, LayerWeights]:
    """Return the embedding or None, and the dense layer, whichever comes first in the file."""
    if not recurrent or not 1 <= len(rest) <= 2:
        names = ", ".join(quoted(layer.name) for layer in [*rest, *recurrent][:6])
        raise ModelFileError(
            f"its layers with weights are {names}; accepted are an embedding, one or more GRU or LSTM, and one Dense."
        )
    if config is not None and (len(rest) == 2) != (config.embedding is not None):
        raise ModelFileError("its weights are not those of the layers that its configuration names.")
    if len(rest) == 1:
        return None, rest[0]
    first, second = sorted(rest, key=lambda layer: (len(layer.arrays), "embed" not in layer.name.lower()))
    if len(first.arrays) != 1:
        raise ModelFileError(
            f"its layers {quoted(first.name)} and {quoted(second.name)} are both Dense; accepted is one."
        )
    return first, second


def _check_recurrent(layers: list[LayerWeights], configs: Sequence[RecurrentConfig]) -> None:
    if len(layers) != len(configs):
        raise ModelFileError(f"its configuration has {len(configs)} recurrent layers, its weights {len(layers)}.")
    for layer, config in zip(layers, configs, strict=True):
        hidden, rows = layer.arrays[1].shape
        same = GATES[config.cell] * hidden == rows and config.units in (None, hidden)
        if not same or bool(config.use_bias) != (len(layer.arrays) == 3):
            raise ModelFileError(f"the weights of its layer {quoted(config.name)} are not those of its configuration.")


def _check_sizes(table: Floats, recurrent: Sequence[LayerWeights], output: LayerWeights) -> None:
    """Raise ``ModelFileError``, naming the layer, where sizes do not fit each other, or charloom's models."""
    known, width = table.shape
    hidden, rows = recurrent[0].arrays[1].shape
    for layer in recurrent:
        inputs, (units, its_rows) = layer.arrays[0].shape[0], layer.arrays[1].shape
        if (units, its_rows) != (hidden, rows):
            raise ModelFileError(
                f"its layer {quoted(layer.name)} has {units} units and {its_rows // units} gates, and the first "
                f"recurrent layer {hidden} and {rows // hidden}: charloom's layers are all of one kind and size."
            )
        if inputs != width:
            raise ModelFileError(f"its layer {quoted(layer.name)} reads {inputs} numbers, but is given {width}.")
        width = units
    if output.arrays[0].shape != (hidden, known):
        raise ModelFileError(
            f"its layer {quoted(output.name)} is {output.arrays[0].shape}, but must be {(hidden, known)}: "
            "from every unit to a logit for each character that can be read."
        )


def architecture_and_weights(stack: KerasStack, config: StackConfig | None) -> tuple[Architecture, dict[str, Floats]]:
    """Return the architecture and weights of the charloom model.

    Raises:
        SettingsError: If it is larger than charloom supports.
        ModelFileError: If the shape of a bias is not supported, or layers differ in ``reset_after``.
    """
    hidden, rows = stack.recurrent[0].arrays[1].shape
    cell = _CELLS[rows // hidden]
    forms = [
        _reset_after(layer, cell, config.recurrent[i] if config else None) for i, layer in enumerate(stack.recurrent)
    ]
    if len(set(forms)) > 1:
        raise ModelFileError("its GRU layers differ in reset_after; in a charloom model they are all of one form.")
    known, width = stack.embedding.shape
    architecture = Architecture(known, cell, width, hidden, len(stack.recurrent), forms[0])
    weights = {"embedding.weight": stack.embedding}
    for i, layer in enumerate(stack.recurrent):
        weights |= {f"layers.{i}.{name}": value for name, value in _layer(layer, architecture).items()}
    matrix, *bias = stack.output.arrays
    weights |= {"output.weight": matrix.T.copy(), "output.bias": bias[0] if bias else np.zeros(known, np.float32)}
    return architecture, weights


def _reset_after(layer: LayerWeights, cell: str, config: RecurrentConfig | None) -> bool:
    """Return ``reset_after`` of a GRU, which follows from the shape of its bias; True for an LSTM."""
    rows = layer.arrays[1].shape[1]
    bias = layer.arrays[2].shape if len(layer.arrays) == 3 else None
    if bias not in ((rows,), (2, rows), None) or (cell == "lstm" and bias == (2, rows)):
        raise ModelFileError(
            f"its layer {quoted(layer.name)} has a bias of the shape {bias}, which is neither {(rows,)} nor {(2, rows)}"
            + (
                ": it is of a CuDNN layer. In Keras 2 load it into a GRU or LSTM, and save that."
                if bias == (2 * rows,)
                else "."
            )
        )
    if cell == "lstm":
        return True
    if bias is None:
        if config is None or not isinstance(config.reset_after, bool):
            raise ModelFileError(
                f"its layer {quoted(layer.name)} is a GRU without bias, and the file does not say whether reset_after "
                "is true. Write the whole model with model.save('model.keras')."
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
    """Swap the first two gates of a GRU, z and r, which converts either order to the other; an LSTM's stay."""
    if cell == "lstm":
        return value.copy()
    first, second, third = np.split(value, 3)
    return np.concatenate([second, first, third])
