"""Which tensors a model file holds: names, shapes and types follow from the architecture, before any is read."""

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from charloom._util.printable import quoted
from charloom.errors import ModelFileError
from charloom.model.architecture import Architecture

STORED_AS: dict[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "int8": np.dtype("i1"),
}
"""How a model file may store its weights. Stored as int8, matrices have a float32 scale for each row beside them,
``NAME.scale``, and biases stay float32."""

SCALE = ".scale"
TRAINING = "training."
"""Stands before the names of tensors that are not the model's, but a training's."""

MOST_STREAMS = 100_000
"""Texts that are read in parallel at most: what the setting ``batch_size`` may be, and B of a carried state."""

_FLOAT32, _FLOAT64 = np.dtype("<f4"), np.dtype("<f8")
_AVERAGES = ({"step", "exp_avg", "exp_avg_sq"}, {"step", "momentum", "direction"})  # of Adam, of Muon
_LOSSES = ("losses.last_epoch", "losses.since_evaluation")


class Sized(Protocol):
    """An array, or where one will be read from."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its numbers."""
        ...


def check_model_tensors(tensors: Mapping[str, Sized], architecture: Architecture, stored_as: str) -> None:
    """Raise ``ModelFileError`` if these are not exactly the tensors of a model."""
    expected = _of_model(architecture, stored_as)
    if tensors.keys() != expected.keys():
        wrong = sorted(tensors.keys() ^ expected.keys())
        raise ModelFileError(f"its weights are not those of its architecture: {', '.join(map(quoted, wrong[:5]))}.")
    for name, (shape, dtype) in expected.items():
        _check(name, tensors[name], shape, dtype)


def check_training_tensors(
    tensors: Mapping[str, Sized], architecture: Architecture, steps: int, streams: int | None
) -> None:
    """Raise ``ModelFileError`` if tensors, named without ``TRAINING``, are not such as a training leaves.

    Args:
        tensors: The optimizer's averages, the carried state, losses.
        architecture: What is trained.
        steps: Updates so far: there are no more losses than that.
        streams: B of the carried state; None if it is not known.
    """
    rest = dict(tensors)
    for name, shape in architecture.parameter_shapes().items():
        kept = {kind: rest.pop(f"optimizer.{kind}.{name}", None) for kind in set().union(*_AVERAGES)}
        there = {kind: value for kind, value in kept.items() if value is not None}
        if there and there.keys() not in _AVERAGES:
            raise ModelFileError(f"its optimizer's averages of {name!r} are not all there.")
        for kind, value in there.items():
            _check(f"optimizer.{kind}.{name}", value, (1,) if kind == "step" else shape, _FLOAT32)
    _check_state(rest, architecture, streams)
    for name in _LOSSES:
        if name in rest:
            value = rest.pop(name)
            _check(name, value, (min(math.prod(value.shape), steps),), _FLOAT64)
    if rest:
        raise ModelFileError(f"it holds what no training leaves: {', '.join(map(quoted, sorted(rest)[:5]))}.")


def _check_state(rest: dict[str, Sized], architecture: Architecture, streams: int | None) -> None:
    """Take the carried state out of ``rest``; each vector is (1, B, H), as PyTorch has them."""
    parts = ("hidden", "cell")[: architecture.state_parts]
    state = {
        name: rest.pop(name, None)
        for name in (f"state.{part}.{layer}" for layer in range(architecture.num_layers) for part in parts)
    }
    there = [value for value in state.values() if value is not None]
    if not there:
        return
    known = there[0].shape[1] if len(there[0].shape) == 3 else 0
    batch = streams if streams is not None else max(1, min(known, MOST_STREAMS))
    for name, value in state.items():
        if value is None:
            raise ModelFileError(f"its carried state lacks {name!r}.")
        _check(name, value, (1, batch, architecture.hidden_size), _FLOAT32)


def _of_model(architecture: Architecture, stored_as: str) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Return the shape and type of every tensor of a model."""
    dtype = STORED_AS[stored_as]
    expected: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
    for name, shape in architecture.parameter_shapes().items():
        quantized = stored_as == "int8" and len(shape) == 2
        expected[name] = (shape, dtype if quantized or stored_as != "int8" else _FLOAT32)
        if quantized:
            expected[name + SCALE] = (shape[:1], _FLOAT32)
    return expected


def _check(name: str, value: Sized, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if value.shape != shape or value.dtype != dtype:
        raise ModelFileError(f"the tensor {name!r} is {value.dtype} {value.shape}, but must be {dtype} {shape}.")
