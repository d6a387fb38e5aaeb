"""The architecture: cell, sizes, and the shape of every parameter.

Dimensions: V vocabulary size, E embedding size, H hidden size, L recurrent layers, G gates (3 for a GRU, 4 for an
LSTM). As in PyTorch, the weights of the gates are stacked by rows, in the order r, z, n for a GRU and i, f, g, o for an
LSTM: ``weight_ih`` is (G*H, input size) and ``weight_hh`` is (G*H, H).
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

from charloom._util.printable import shortened
from charloom.errors import SettingsError

GATES = {"gru": 3, "lstm": 4}
STATE_PARTS = {"gru": 1, "lstm": 2}  # the hidden state, and for an LSTM the cell state

LIMITS = {
    "vocabulary_size": (1, 65_536),
    "embedding_size": (1, 8_192),
    "hidden_size": (1, 16_384),
    "num_layers": (1, 64),
}
"""Minimum and maximum of each size."""


@dataclass(frozen=True)
class LayerSummary:
    """A layer in the summary of a model.

    Attributes:
        name: The prefix of its parameter names: ``embedding``, ``layers.0`` ..., ``output``.
        kind: ``Embedding``, ``GRU``, ``LSTM`` or ``Dense``.
        output_shape: Output shape as text, with B for the batch size and T for the number of time steps.
        parameters: Number of parameters.
    """

    name: str
    kind: str
    output_shape: str
    parameters: int


@dataclass(frozen=True)
class Architecture:
    """Cell type and sizes of a character model: embedding, stacked recurrent layers, dense output layer.

    Attributes:
        vocabulary_size: Vocabulary size V.
        cell: "gru" or "lstm".
        embedding_size: Embedding size E.
        hidden_size: Hidden size H of every recurrent layer.
        num_layers: Number of recurrent layers L.
        reset_after: For a GRU, whether the reset gate is applied after the product with ``weight_hh``, with a second
            bias (as in PyTorch, cuDNN and the TensorFlow tutorial), or before it (as in older Keras models).

    Raises:
        SettingsError: If a size is out of range or the cell is unknown.
    """

    vocabulary_size: int
    cell: str = "gru"
    embedding_size: int = 256
    hidden_size: int = 512
    num_layers: int = 1
    reset_after: bool = True

    def __post_init__(self) -> None:
        if self.cell not in GATES:
            raise SettingsError(
                f"cell must be one of {', '.join(GATES)}, got {self.cell!r:.80}.",
                code="invalid_setting",
                name="cell",
                value=shortened(self.cell),
                accepted=list(GATES),
            )
        for name, (minimum, maximum) in LIMITS.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
                raise SettingsError(
                    f"{name} must be an integer from {minimum} to {maximum}, got {value!r:.80}.",
                    code="invalid_setting",
                    name=name,
                    value=value if isinstance(value, int) else shortened(value),
                    minimum=minimum,
                    maximum=maximum,
                )
        if not isinstance(self.reset_after, bool):
            raise SettingsError(
                f"reset_after must be true or false, got {self.reset_after!r}.",
                code="invalid_setting",
                name="reset_after",
                value=shortened(self.reset_after),
                accepted=[True, False],
            )

    @property
    def has_bias_hh(self) -> bool:
        """Whether layers have a recurrent bias ``bias_hh``.

        Only a GRU with ``reset_after`` needs one; elsewhere it would be equivalent to a change of ``bias_ih``.
        """
        return self.cell == "gru" and self.reset_after

    @property
    def state_parts(self) -> int:
        """Number S of state vectors per layer: 1 for a GRU (hidden), 2 for an LSTM (hidden, cell)."""
        return STATE_PARTS[self.cell]

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the name and shape of every parameter, from the embedding to the output layer."""
        rows = GATES[self.cell] * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (self.vocabulary_size, self.embedding_size)}
        for layer in range(self.num_layers):
            width = self.embedding_size if layer == 0 else self.hidden_size
            shapes[f"layers.{layer}.weight_ih"] = (rows, width)
            shapes[f"layers.{layer}.weight_hh"] = (rows, self.hidden_size)
            shapes[f"layers.{layer}.bias_ih"] = (rows,)
            if self.has_bias_hh:
                shapes[f"layers.{layer}.bias_hh"] = (rows,)
        shapes["output.weight"] = (self.vocabulary_size, self.hidden_size)
        shapes["output.bias"] = (self.vocabulary_size,)
        return shapes

    @property
    def num_parameters(self) -> int:
        """Number of parameters."""
        return sum(math.prod(shape) for shape in self.parameter_shapes().values())

    @property
    def in_words(self) -> str:
        """Cell, number of layers and hidden size as text, such as "GRU, 1 x 512"."""
        return f"{self.cell.upper()}, {self.num_layers} x {self.hidden_size}"

    def summary(self) -> list[LayerSummary]:
        """Return name, kind, output shape and number of parameters of each layer."""
        counts: dict[str, int] = {}
        for name, shape in self.parameter_shapes().items():
            layer = name.rpartition(".")[0]
            counts[layer] = counts.get(layer, 0) + math.prod(shape)
        return [LayerSummary(layer, *self._kind_and_shape(layer), count) for layer, count in counts.items()]

    def _kind_and_shape(self, layer: str) -> tuple[str, str]:
        if layer == "embedding":
            return "Embedding", f"(B, T, {self.embedding_size})"
        if layer == "output":
            return "Dense", f"(B, T, {self.vocabulary_size})"
        return self.cell.upper(), f"(B, T, {self.hidden_size})"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON data."""
        return asdict(self)
