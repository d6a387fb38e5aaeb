"""What a search for better settings varies, around what, and how far. Arithmetic alone."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from charloom.planning.settings import Settings

Place = dict[str, float]
"""Where a trial stands: for every axis by its name a number, or which of its values."""

_HIDDEN_SIZES = (32, 64, 128, 256, 384, 512, 768, 1024, 1536, 2048)  # between them the recipe auto chooses, too
_NEAR = 2.1  # times larger or smaller is still a neighbour
_DROPOUT_STEP, _DROPOUT_STEPS, _MOST_DROPOUT = 0.05, 3, 0.9
_MOST_CHANGES = 3  # of settings, from a good trial to the next
_LEAST_STEP, _MOST_STEP = 0.15, 0.35  # share of its range by which a number changes: less would not be seen


@dataclass(frozen=True)
class Axis:
    """One thing that is varied.

    Attributes:
        settings: Names of the settings that move together, all to the same value; the first is the axis' name.
        low: The lowest number, above 0; numbers are spread by their logarithm.
        high: The highest.
        values: Instead of a range, all values there are, in their order.
        start: Where the plan stands: a number, or which of the values.
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

    def value(self, at: float) -> float:
        """Return the settings' value at a place."""
        return self.values[int(at)] if self.values else at

    def moved(self, at: float, rng: np.random.Generator) -> float:
        """Return a place near another: the next value up or down, or a number some way off."""
        if not self.values:
            step = rng.choice((-1, 1)) * rng.uniform(_LEAST_STEP, _MOST_STEP) * np.log(self.high / self.low)
            there = at * np.exp(step)
            return float(there if self.low <= there <= self.high else at * np.exp(-step))
        last = len(self.values) - 1
        step = 1 if at == 0 else -1 if at == last else rng.choice((-1, 1))
        return int(at + step)


def axes_around(settings: Settings, characters: int, fixed: Collection[str] = ()) -> tuple[Axis, ...]:
    """Return what is worth varying around a plan.

    Args:
        settings: The plan's.
        characters: Of the training text: batches may not be larger than it.
        fixed: Names of settings that stay.
    """
    s = settings
    hidden = {size for size in _HIDDEN_SIZES if s.hidden_size / _NEAR < size < s.hidden_size * _NEAR} | {s.hidden_size}
    windows = {s.seq_length} if s.batching == "lines" else _halves(s.seq_length)
    if "seq_length" in fixed:
        windows = {s.seq_length}
    longest = max(windows) + 1
    batches = {size for size in _halves(s.batch_size) if size * longest < characters} | {s.batch_size}
    shares = {s.dropout_output + _DROPOUT_STEP * step for step in range(-_DROPOUT_STEPS, _DROPOUT_STEPS + 1)}
    dropout = {round(share, 3) for share in shares if 0 <= share <= _MOST_DROPOUT} | {s.dropout_output}
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


def start(axes: Collection[Axis]) -> Place:
    """Return where the plan stands."""
    return {axis.name: axis.start for axis in axes}


def settings_at(plan: Settings, axes: Collection[Axis], place: Mapping[str, float]) -> Settings:
    """Return the plan's settings with those of a place."""
    moved = [axis for axis in axes if place[axis.name] != axis.start]  # what stays may differ from its axis' first
    return plan.with_values({name: axis.value(place[axis.name]) for axis in moved for name in axis.settings})


def differences(settings: Settings, plan: Settings) -> dict[str, Any]:
    """Return what settings have in another way than the plan."""
    values = settings.to_dict()
    return {name: values[name] for name, planned in plan.to_dict().items() if values[name] != planned}


def near(
    place: Mapping[str, float], axes: Collection[Axis], rng: np.random.Generator, is_new: Callable[[Place], bool]
) -> Place:
    """Return a new place where up to three things are different than in another.

    Args:
        place: A good one.
        axes: What can be varied, at least one thing.
        rng: Draws what, and how far.
        is_new: Whether nobody has been at a place; after a hundred that are not new any will do.
    """
    ordered = sorted(axes, key=lambda axis: axis.name)
    found = dict(place)
    for _ in range(100):
        count = int(rng.integers(1, min(_MOST_CHANGES, len(ordered)) + 1))
        changed = [ordered[int(i)] for i in rng.permutation(len(ordered))[:count]]
        found = {**place, **{axis.name: axis.moved(place[axis.name], rng) for axis in changed}}
        if is_new(found):
            break
    return found


def _halves(value: int) -> set[int]:
    """Return a number, its half and its double."""
    return {max(1, value // 2), value, 2 * value}
