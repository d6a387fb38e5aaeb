"""The search space: which settings are varied around a plan, and how far."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from charloom.planning.settings import Settings

Point = dict[str, float]
"""A point of the search space: for every axis, by name, a number or the index of one of its values."""

_HIDDEN_SIZES = (32, 64, 128, 256, 384, 512, 768, 1024, 1536, 2048)  # units; the recipe auto chooses among them
_MAX_SIZE_FACTOR = 2.1  # hidden sizes up to so many times larger or smaller than the plan's are tried
_DROPOUT_STEP, _DROPOUT_STEPS, _MAX_DROPOUT = 0.05, 3, 0.9
_MAX_CHANGES = 3  # axes that change from a good trial to its neighbor
_MIN_STEP, _MAX_STEP = 0.15, 0.35  # change of a number, as a share of its range: less would not be seen in the loss


@dataclass(frozen=True)
class Axis:
    """One axis of the search space: a range of numbers, or a list of values.

    Attributes:
        settings: Names of the settings that move together, all to the same value; the first is the axis' name.
        start: Coordinate of the plan: a number, or the index of a value.
        low: Lowest number of the range, above 0; the range is logarithmic.
        high: Highest number of the range.
        values: All values in order, instead of a range.
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
        """Return the settings' value at a coordinate."""
        return self.values[int(coordinate)] if self.values else coordinate

    def step_from(self, coordinate: float, rng: np.random.Generator) -> float:
        """Return a random neighbor of a coordinate: the next value up or down, or a number at some distance."""
        if not self.values:
            step = rng.choice((-1, 1)) * rng.uniform(_MIN_STEP, _MAX_STEP) * np.log(self.high / self.low)
            moved = coordinate * np.exp(step)
            return float(moved if self.low <= moved <= self.high else coordinate * np.exp(-step))
        last = len(self.values) - 1
        step = 1 if coordinate == 0 else -1 if coordinate == last else rng.choice((-1, 1))
        return int(coordinate + step)


def axes_around(settings: Settings, characters: int, fixed: Collection[str] = ()) -> tuple[Axis, ...]:
    """Return the axes around a plan that are worth varying.

    Args:
        settings: Settings of the plan.
        characters: Length of the training text, which limits the size of a batch.
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
    # where an axis does not move, its settings keep their own values, which may differ from that of its first one
    moved = [axis for axis in axes if point[axis.name] != axis.start]
    return plan.with_values({name: axis.value(point[axis.name]) for axis in moved for name in axis.settings})


def differences(settings: Settings, plan: Settings) -> dict[str, Any]:
    """Return the settings, with their values, that differ from the plan's."""
    values = settings.to_dict()
    return {name: values[name] for name, planned in plan.to_dict().items() if values[name] != planned}


def neighbor(
    point: Mapping[str, float], axes: Collection[Axis], rng: np.random.Generator, is_new: Callable[[Point], bool]
) -> Point:
    """Return a random new point that differs from another on one to three axes.

    Args:
        point: The point to start from.
        axes: Axes of the search space, at least one.
        rng: Random numbers.
        is_new: Whether a point was not tried before; after a hundred points that are not new, any will do.
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
