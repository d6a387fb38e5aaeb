"""The recipe ``auto``: size, batches and regularisation that suit a text, a time and a machine. Arithmetic alone.

What was measured is in docs/decisions.md. Between and beyond its points these rules are guesses: sizes below 384 and
above 512 units, dropout of one layer between 10 and 20 passes, the time that is planned where none is given.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom.planning.cost import step_operations
from charloom.planning.settings import Settings

NOMINAL_SPEED = 1e11  # operations a second: two cores of a laptop; where nothing is measured

_SIZES = (  # layers and units, and from how many operations of training on they are better than the row before
    (1, 128, 0.0),
    (1, 256, 3e11),
    (1, 384, 4e12),
    (1, 512, 3.5e13),
    (2, 512, 7e13),
    (2, 768, 4e14),
    (2, 1024, 1.5e15),
)
_OFTEN, _LARGEST_OFTEN = 15, 512  # a text read so often can have one layer of up to so many units with less time
MOST_PASSES = 25
"""Over a text, where time is what limits a training: on 12,000 characters the held-out loss rose with more."""

_DROPOUT = ((0, 0.0), (10, 0.1), (14, 0.2), (20, 0.3))  # from so many passes over the text on
_DROPOUT_DEEP = ((0, 0.0), (4, 0.1), (9, 0.2), (20, 0.3))  # the same of several layers
_DECAY, _DECAY_PASSES, _DECAY_TEXT = 0.1, 9.0, 9e5  # weight decay of so many passes over so many characters
_DECAY_GROWS, _DECAY_FALLS = 0.5, 0.4  # with which power of the passes, and of the characters
_LEAST_DECAY, _MOST_DECAY = 0.01, 0.8
_GOOD = 3e13  # operations that make a good model of a million characters
_GOOD_GROWTH = 0.75  # and of a longer text this power of its length more
_LEAST_SECONDS, _MOST_SECONDS = 20.0, 1200.0  # of a training whose length is left to charloom

_HELD_OUT, _HELD_OUT_LARGE = 300_000, 100_000  # characters that are held out, at most; of a large alphabet

# Where the alphabet is large, the output layer takes most of a step, and its cost grows with the batch: smaller
# batches then buy many more updates for the same time.
_LARGE_ALPHABET = 1000
_LARGE_ALPHABET_BATCH = {"batch_size": 16, "seq_length": 16, "learning_rate": 0.01, "muon_ratio": 2.0}
_LONGEST_LINE = 128  # characters of a line through which gradients flow back
_BATCHES_OF_LINES = 4  # at least, in one pass over the lines
_WINDOWS_PER_STREAM = 4  # fewer would leave a state hardly anything to carry


@dataclass(frozen=True)
class Task:
    """What a plan is made for.

    Attributes:
        characters: Of the training text.
        alphabet: How many distinct characters there are.
        speed: Operations of matrix products that this machine does in a second of training.
        line_lengths: Characters of each line, where they are texts of their own.
    """

    characters: int
    alphabet: int
    speed: float = NOMINAL_SPEED
    line_lengths: NDArray[np.int64] | None = field(default=None, repr=False, compare=False)


def suit(settings: Settings, task: Task, fixed: Collection[str] = ()) -> tuple[Settings, tuple[str, ...]]:
    """Return settings that suit a text, the time there is and the machine.

    Args:
        settings: As the recipe has them.
        task: Text and machine.
        fixed: Names of settings that the user chose, which stay.

    Returns:
        The settings, and a sentence about each choice that a user may want to know of.
    """
    notices: list[str] = []

    def change(changes: Mapping[str, Any], why: str = "") -> None:
        nonlocal settings
        left = {k: value for k, value in changes.items() if k not in fixed and value != getattr(settings, k)}
        settings = settings.with_values(left)
        if left and why:
            notices.append(why.format(" and ".join(f"{name} {value}" for name, value in left.items())))

    if task.alphabet >= _LARGE_ALPHABET:
        change(_LARGE_ALPHABET_BATCH, f"The alphabet is large ({task.alphabet:,} characters): using {{}}.")
    if task.line_lengths is not None and len(task.line_lengths):
        change(_lines(settings, task.line_lengths))
        task = replace(task, characters=len(task.line_lengths) * settings.seq_length)  # as they are read: filled up
    change(*_streams(settings, task))
    if settings.minutes and "minutes" not in fixed:
        change({"minutes": _good_seconds(task) / 60})
    change(_size(settings, task))
    change(_regularisation(settings, task))
    return settings, tuple(notices)


def held_out(
    settings: Settings, characters: int, alphabet: int, fixed: Collection[str] = ()
) -> tuple[Settings, tuple[str, ...]]:
    """Return settings that hold out no more of a text than tells how good a model is, and why.

    Args:
        settings: As the recipe has them.
        characters: Of the whole text.
        alphabet: How many distinct characters there are.
        fixed: Names of settings that the user chose, which stay.
    """
    most = _HELD_OUT if alphabet < _LARGE_ALPHABET else _HELD_OUT_LARGE
    if "val_fraction" in fixed or settings.val_fraction * characters <= most:
        return settings, ()
    share = most / characters
    why = (
        f"The text is long: {most:,} characters of it are held out, {share:.2%} instead of {settings.val_fraction:.0%}."
    )
    return settings.with_values({"val_fraction": share}), (why,)


def enough(steps: int, steps_per_epoch: int, characters: int) -> tuple[int, tuple[str, ...]]:
    """Return the steps there is time for, or fewer where a short text would only be learned by heart, and why."""
    most = MOST_PASSES * steps_per_epoch
    if steps <= most:
        return steps, ()
    return most, (
        f"The training text is short ({characters:,} characters): {MOST_PASSES} passes over it are enough, where there "
        f"is time for {steps / steps_per_epoch:,.0f}; more would only learn it by heart. (--epochs N makes as many as "
        "you like.)",
    )


def reference(settings: Settings, task: Task) -> Settings:
    """Return settings of a middling size, with the batches that suit the alphabet: by these the speed is measured."""
    large = _LARGE_ALPHABET_BATCH if task.alphabet >= _LARGE_ALPHABET else {}
    return Settings(cell=settings.cell, precision=settings.precision).with_values(large)


def passes(settings: Settings, task: Task) -> float:
    """Return how often a training will have read its text, as far as that is known before its speed is measured."""
    if settings.epochs:
        return settings.epochs
    read = settings.batch_size * settings.seq_length
    in_time = settings.minutes * 60 * task.speed / step_operations(settings, task.alphabet)
    steps: float = settings.steps or in_time
    return steps * read / task.characters


def _good_seconds(task: Task) -> float:
    seconds: float = _GOOD * (task.characters / 1e6) ** _GOOD_GROWTH / task.speed
    return min(max(seconds, _LEAST_SECONDS), _MOST_SECONDS)


def _lines(settings: Settings, lengths: NDArray[np.int64]) -> dict[str, int]:
    """Return windows that hold most lines whole, and batches that hold as many characters as those of a text."""
    window = int(min(lengths.max() + 1, _LONGEST_LINE))
    mean = float(np.minimum(lengths + 1, window).mean())
    rows = round(settings.batch_size * settings.seq_length / mean)
    return {"seq_length": window, "batch_size": max(1, min(rows, len(lengths) // _BATCHES_OF_LINES))}


def _streams(settings: Settings, task: Task) -> tuple[dict[str, int], str]:
    most = max(1, (task.characters - 1) // (_WINDOWS_PER_STREAM * settings.seq_length))
    if settings.batching != "streams" or settings.batch_size <= most:
        return {}, ""
    return {"batch_size": most}, (
        f"The training text is short ({task.characters:,} characters): batch_size is {most} instead of "
        f"{settings.batch_size} parallel streams."
    )


def _size(settings: Settings, task: Task) -> dict[str, int]:
    """Return layers and units: as many as there is time to train."""
    chosen: dict[str, int] = {}
    for num_layers, hidden_size, least in _SIZES:
        sizes = {"num_layers": num_layers, "hidden_size": hidden_size}
        planned = passes(settings.with_values(sizes), task)
        often = planned >= _OFTEN and num_layers == 1 and hidden_size <= _LARGEST_OFTEN
        if not chosen or often or _operations(settings, task) >= least:
            chosen = sizes
    return chosen


def _operations(settings: Settings, task: Task) -> float:
    """Return the operations that the time there is has room for; of steps or epochs, those of the middling size."""
    if settings.minutes:
        return settings.minutes * 60 * task.speed
    a_character = step_operations(settings, task.alphabet) / (settings.batch_size * settings.seq_length)
    return passes(settings, task) * task.characters * a_character


def _regularisation(settings: Settings, task: Task) -> dict[str, float]:
    """Return dropout and weight decay: the more, the oftener the text is read and the shorter it is."""
    planned = passes(settings, task) if settings.epochs or settings.steps else min(passes(settings, task), MOST_PASSES)
    shares = _DROPOUT if settings.num_layers == 1 else _DROPOUT_DEEP
    share = max(share for least, share in shares if planned >= least)
    decay = _DECAY * (planned / _DECAY_PASSES) ** _DECAY_GROWS * (_DECAY_TEXT / task.characters) ** _DECAY_FALLS
    decay = round(min(max(decay, _LEAST_DECAY), _MOST_DECAY), 3)
    return {"dropout_output": share, "dropout_hidden": share, "weight_decay": decay}
