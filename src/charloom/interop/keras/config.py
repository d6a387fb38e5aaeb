"""Parse a Keras configuration: a chain of supported layers.

A configuration is treated as data: classes that it names are never imported. Unsupported layers are reported by name.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from charloom._util.printable import quoted
from charloom.errors import ModelFileError

_CELLS = {"GRU": "gru", "LSTM": "lstm"}
_TRAINING_ONLY = (
    "Dropout", "SpatialDropout1D", "GaussianDropout", "GaussianNoise", "AlphaDropout", "ActivityRegularization",
)  # fmt: skip
_HINTS = {
    "CuDNNGRU": "In Keras 2, load its weights into a GRU with reset_after=True and save that model.",
    "CuDNNLSTM": "In Keras 2, load its weights into an LSTM and save that model.",
    "Lambda": "It contains code, and charloom does not execute code from files.",
}


@dataclass(frozen=True)
class RecurrentConfig:
    """The configuration of a recurrent layer.

    Attributes:
        name: Name of the layer.
        cell: "gru" or "lstm".
        units: Hidden size H; None if the file does not state it.
        use_bias: Whether the layer has a bias.
        reset_after: Whether a GRU applies the reset gate after the matrix product; None if the file does not state it.
    """

    name: str
    cell: str
    units: Any = None
    use_bias: Any = True
    reset_after: Any = None


@dataclass(frozen=True)
class StackConfig:
    """A stack of supported layers.

    Attributes:
        embedding: Name of the embedding layer; None if the inputs are one-hot vectors.
        recurrent: The recurrent layers, from bottom to top.
        output: Name of the dense layer.
        last_only: Whether the last recurrent layer returns only its last output.
    """

    embedding: str | None
    recurrent: tuple[RecurrentConfig, ...]
    output: str
    last_only: bool


@dataclass(frozen=True)
class _Layer:
    kind: str
    name: str
    config: Mapping[str, Any]
    inbound: Any = None


def parse_stack(config: Mapping[str, Any]) -> StackConfig | None:
    """Parse a model's configuration.

    Returns:
        The stack; None for a subclassed model, whose layers the file does not describe.

    Raises:
        ModelFileError: If a layer or a connection between layers is not supported.
    """
    kind, inner = config.get("class_name"), config.get("config")
    listed = inner.get("layers") if isinstance(inner, dict) else inner
    if kind not in ("Sequential", "Functional", "Model") or not isinstance(listed, list):
        return None
    layers = [_layer(entry) for entry in listed]
    chain = layers if kind == "Sequential" else _chain(layers)
    return _check_stack([layer for layer in chain if layer.kind not in ("InputLayer", *_TRAINING_ONLY)])


def _layer(entry: Any) -> _Layer:
    if not isinstance(entry, dict) or not isinstance(entry.get("config"), dict):
        raise ModelFileError("Its configuration contains an invalid layer description.", code="invalid_keras_config")
    kind, config = entry.get("class_name"), entry["config"]
    name = config.get("name") or entry.get("name") or kind
    if not isinstance(kind, str) or not isinstance(name, str):
        raise ModelFileError("Its configuration contains a layer without class or name.", code="invalid_keras_config")
    if entry.get("registered_name") not in (None, kind):
        raise _unsupported(
            _Layer(kind, name, config), "it is a custom class", "charloom does not execute code from files."
        )
    if kind == "TimeDistributed":
        inner = _layer(config.get("layer"))
        return _Layer(inner.kind, name, inner.config, entry.get("inbound_nodes"))
    return _Layer(kind, name, config, entry.get("inbound_nodes"))


def _unsupported(layer: _Layer, why: str, hint: str = "") -> ModelFileError:
    return ModelFileError(
        f"Unsupported layer {quoted(layer.name)} ({quoted(layer.kind)[1:-1]}): {why}. {hint}".rstrip(),
        code="unsupported_layer",
        layer=layer.name,
        kind=layer.kind,
    )


def _chain(layers: list[_Layer]) -> list[_Layer]:
    """Return the layers of a graph in order, from inputs to logits."""
    by_name = {layer.name: layer for layer in layers}
    following: dict[str, _Layer] = {}
    for layer in layers:
        sources = list(_sources(layer.inbound))
        before = [name for name, _, _ in sources[:1]]
        states = [name for name, _, _ in sources[1:]]  # a recurrent layer may have an input for its initial state
        given = layer.kind in _CELLS and all(by_name[s].kind == "InputLayer" for s in states if s in by_name)
        if (states and not given) or any(index for _, _, index in sources[:1]) or not by_name.keys() >= {*before}:
            raise _unsupported(layer, "it has more than one input", "charloom supports a single chain of layers.")
        for name in before:
            if name in following:
                raise _unsupported(
                    layer,
                    f"it shares its input {quoted(name)} with another layer",
                    "charloom supports a single chain of layers.",
                )
            following[name] = layer
    starts = [layer for layer in layers if layer.name in following and not list(_sources(layer.inbound))]
    if len(starts) != 1:
        raise ModelFileError(
            f"The model has {len(starts)} inputs; charloom supports a single chain of layers.",
            code="unsupported_architecture",
            inputs=len(starts),
        )
    chain = starts
    while (after := following.get(chain[-1].name)) is not None and len(chain) <= len(layers):
        chain = [*chain, after]
    return chain


def _sources(inbound: Any) -> Iterator[tuple[str, int, int]]:
    """Yield (layer name, node index, output index) for each input of a layer, in any form that Keras has used."""
    if isinstance(inbound, dict):
        inbound = list(inbound.values())
    if not isinstance(inbound, list):
        return
    if len(inbound) >= 3 and isinstance(inbound[0], str) and all(type(part) is int for part in inbound[1:3]):
        yield inbound[0], inbound[1], inbound[2]
        return
    for part in inbound:
        yield from _sources(part)


def _check_stack(layers: list[_Layer]) -> StackConfig:
    """Check each layer and their order: embedding, recurrent layers, dense, softmax."""
    rest = list(layers)
    embedding = _embedding(rest.pop(0)) if rest and rest[0].kind == "Embedding" else None
    recurrent = []
    while rest and rest[0].kind in _CELLS:
        recurrent.append(rest.pop(0))
    if not rest or rest[0].kind != "Dense" or not recurrent:
        expected = "Dense" if recurrent else "GRU or LSTM"
        if not rest:
            raise ModelFileError(
                f"The model has no {expected} layer; charloom supports Embedding, GRU or LSTM, and Dense, in that "
                "order.",
                code="unsupported_architecture",
                expected=expected,
            )
        raise _unsupported(rest[0], f"expected {expected} in its place", _HINTS.get(rest[0].kind, ""))
    output = _output(rest.pop(0))
    for layer in rest:
        if layer.kind != "Softmax" and not (layer.kind == "Activation" and _is_softmax(layer.config)):
            raise _unsupported(layer, "only a softmax may follow the Dense layer", _HINTS.get(layer.kind, ""))
    for layer in recurrent[:-1]:
        if layer.config.get("return_sequences") is not True:
            raise _unsupported(layer, "it passes only its last output to the next layer (return_sequences=False)")
    last_only = recurrent[-1].config.get("return_sequences") is not True
    return StackConfig(embedding, tuple(map(_recurrent, recurrent)), output, last_only)


def _embedding(layer: _Layer) -> str:
    if layer.config.get("mask_zero"):
        raise _unsupported(layer, "it masks id 0 (mask_zero=True), but in charloom every id is a character")
    return layer.name


def _recurrent(layer: _Layer) -> RecurrentConfig:
    config = layer.config
    gates = _activation_name(config.get("recurrent_activation", config.get("inner_activation", "sigmoid")))
    activation = _activation_name(config.get("activation", "tanh"))
    if activation != "tanh" or gates != "sigmoid":
        raise _unsupported(
            layer, f"its activations are {quoted(activation)} and {quoted(gates)}; expected 'tanh' and 'sigmoid'"
        )
    for flag in ("go_backwards", "time_major"):
        if config.get(flag):
            raise _unsupported(layer, f"it has {flag}=True")
    return RecurrentConfig(
        layer.name, _CELLS[layer.kind], config.get("units", config.get("output_dim")),
        config.get("use_bias", True), config.get("reset_after"),
    )  # fmt: skip


def _output(layer: _Layer) -> str:
    if _activation_name(layer.config.get("activation", "linear")) not in ("linear", "softmax"):
        raise _unsupported(
            layer,
            f"its activation is {quoted(_activation_name(layer.config['activation']))}; expected linear or softmax",
        )
    return layer.name


def _is_softmax(config: Mapping[str, Any]) -> bool:
    return _activation_name(config.get("activation")) in ("softmax", "linear")


def _activation_name(activation: Any) -> Any:
    """Return the name of an activation, which may be an object; None means linear."""
    if isinstance(activation, dict):
        inner = activation.get("config")
        return _activation_name(inner) if isinstance(inner, str) else str(activation.get("class_name", "")).lower()
    return "linear" if activation is None else activation
