"""The search space: the settings that are varied around a plan, and their ranges."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from charloom.planning.settings import Settings

Point = dict[str, float]
"""A point of the search space: maps each axis' name to a number, or to the index of one of the axis' values."""

_HIDDEN_SIZES = (32, 64, 128, 256, 384, 512, 768, 1024, 1536, 2048)  # units; the sizes that the recipe auto uses
_MAX_SIZE_FACTOR = 2.1  # maximum ratio between a trial's hidden size and the plan's, in both directions
_DROPOUT_STEP, _DROPOUT_STEPS, _MAX_DROPOUT = 0.05, 3, 0.9
_MAX_CHANGES = 3  # maximum number of axes on which a neighbor differs
_MIN_STEP, _MAX_STEP = 0.15, 0.35  # step size as a share of the range; smaller steps have no visible effect on the loss


@dataclass(frozen=True)
class Axis:
    """One axis of the search space: a range of numbers, or a list of values.

    Attributes:
        settings: Names of the settings that this axis sets, all to the same value. The first one names the axis.
        start: Coordinate of the plan: a number, or the index of a value.
        low: Minimum of the range, greater than 0; the range is logarithmic.
        high: Maximum of the range.
        values: All values in ascending order, instead of a range.
    """

    settings: tuple[str, ...]
    start: float
    low: float = 0.0
    high: float = 0.0
    values: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """The name of the axis."""
        return self.settings[0]

    def value(self, coordinate: float) -> float:
        """Return the value of the settings at a coordinate."""
        return self.values[int(coordinate)] if self.values else coordinate

    def step_from(self, coordinate: float, rng: np.random.Generator) -> float:
        """Return a random neighbor of a coordinate: the next value up or down, or a number at a random distance."""
        if not self.values:
            step = rng.choice((-1, 1)) * rng.uniform(_MIN_STEP, _MAX_STEP) * np.log(self.high / self.low)
            moved = coordinate * np.exp(step)
            return float(moved if self.low <= moved <= self.high else coordinate * np.exp(-step))
        last = len(self.values) - 1
        step = 1 if coordinate == 0 else -1 if coordinate == last else rng.choice((-1, 1))
        return int(coordinate + step)


def axes_around(settings: Settings, characters: int, fixed: Collection[str] = ()) -> tuple[Axis, ...]:
    """Return the axes of the search space around a plan.

    Args:
        settings: Settings of the plan.
        characters: Length of the training text, which limits the batch size.
        fixed: Names of settings that are not varied.
    """
    s = settings
    hidden = {
        size for size in _HIDDEN_SIZES if s.hidden_size / _MAX_SIZE_FACTOR < size < s.hidden_size * _MAX_SIZE_FACTOR
    } | {s.hidden_size}
    windows = {s.seq_length} if s.batching == "lines" else _halves(s.seq_length)
    if "seq_length" in fixed:
        windows = {s.seq_length}
    longest = max(windows) + 1
    batches = {size for size in _halves(s.batch_size) if size * longest < characters} | {s.batch_size}
    shares = {s.dropout_output + _DROPOUT_STEP * step for step in range(-_DROPOUT_STEPS, _DROPOUT_STEPS + 1)}
    dropout = {round(share, 3) for share in shares if 0 <= share <= _MAX_DROPOUT} | {s.dropout_output}
    choices: tuple[tuple[tuple[str, ...], Collection[float]], ...] = (
        (("hidden_size",), hidden),
        (("num_layers",), {layers for layers in range(s.num_layers - 1, s.num_layers + 2) if layers > 0}),
        (("batch_size",), batches),
        (("seq_length",), windows),
        (("dropout_output", "dropout_hidden"), dropout),
        (("embedding_size",), _halves(s.embedding_size)),
    )
    factors = {"learning_rate": 3.0, "weight_decay": 4.0, "muon_ratio": 2.0}
    without = {"muon": (), "adamw": ("muon_ratio",), "adam": ("muon_ratio", "weight_decay")}[s.optimizer]
    axes = [
        Axis((name,), at, at / factor, min(at * factor, 10.0))
        for name, factor in factors.items()
        if (at := getattr(s, name)) > 0 and name not in fixed and name not in without
    ]
    for names, values in choices:
        free = tuple(name for name in names if name not in fixed)
        if free and len(values) > 1:
            ordered = tuple(sorted(values))
            axes.append(Axis(free, ordered.index(getattr(s, names[0])), values=ordered))
    return tuple(axes)


def start_point(axes: Collection[Axis]) -> Point:
    """Return the point of the plan."""
    return {axis.name: axis.start for axis in axes}


def settings_at(plan: Settings, axes: Collection[Axis], point: Mapping[str, float]) -> Settings:
    """Return the settings of a point: the plan's, with the values of the axes on which the point differs."""
    # on an unchanged axis, every setting keeps its own value; the settings of one axis may differ in the plan
    moved = [axis for axis in axes if point[axis.name] != axis.start]
    return plan.with_values({name: axis.value(point[axis.name]) for axis in moved for name in axis.settings})


def differences(settings: Settings, plan: Settings) -> dict[str, Any]:
    """Return the settings that differ from the plan's, with their values."""
    values = settings.to_dict()
    return {name: values[name] for name, planned in plan.to_dict().items() if values[name] != planned}


def neighbor(
    point: Mapping[str, float], axes: Collection[Axis], rng: np.random.Generator, is_new: Callable[[Point], bool]
) -> Point:
    """Return a random new point that differs from the given one on one to three axes.

    Args:
        point: The point to start from.
        axes: Axes of the search space, at least one.
        rng: Random number generator.
        is_new: Returns whether a point has not been tried. After 100 points that are not new, the last one is returned.
    """
    ordered = sorted(axes, key=lambda axis: axis.name)
    candidate = dict(point)
    for _ in range(100):
        count = int(rng.integers(1, min(_MAX_CHANGES, len(ordered)) + 1))
        changed = [ordered[int(i)] for i in rng.permutation(len(ordered))[:count]]
        candidate = {**point, **{axis.name: axis.step_from(point[axis.name], rng) for axis in changed}}
        if is_new(candidate):
            break
    return candidate


def _halves(value: int) -> set[int]:
    """Return a number, half of it and twice it."""
    return {max(1, value // 2), value, 2 * value}
