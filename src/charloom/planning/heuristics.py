"""Rules of the recipe ``auto``: size, batches, regularization and length for a text, a time and a machine.

Every rule is arithmetic on the settings, the text and a measured speed; nothing is measured here.

Every constant below has one line: unit; evidence; range in which it was measured. Outside that range it is an
extrapolation. The evidence is in these decision records:

    [auto]      docs/decisions/planning.md#auto-plans-its-settings-from-text-time-and-speed
    [muon]      docs/decisions/planning.md#the-default-optimizer-is-muon-for-recurrent-matrices
    [decay]     docs/decisions/planning.md#weight-decay-grows-with-epochs-and-falls-with-text-length
    [dropout]   docs/decisions/planning.md#no-dropout-below-ten-epochs
    [size]      docs/decisions/planning.md#the-model-grows-with-the-operations-of-the-whole-training
    [best]      docs/decisions/planning.md#the-recipe-best-reaches-13510-on-one-core
    [alphabet]  docs/decisions/planning.md#large-alphabets-use-small-batches
    [held-out]  docs/decisions/planning.md#long-texts-hold-out-a-limited-part
    [n-grams]   docs/decisions/planning.md#the-expected-loss-is-predicted-from-n-grams
    [guess]     chosen without a measurement
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charloom.planning.cost import step_operations
from charloom.planning.settings import Notices, Settings

NOMINAL_SPEED = 1e11
"""Operations per second, where no speed was measured; [auto], two cores of a laptop; CPUs with 1 to 4 cores."""

MAX_EPOCHS = 25
"""Epochs, where time limits the training; [decay], the loss rose from 23 to 45 epochs; 12,000 characters."""


class _Size(NamedTuple):
    """A step of the size ladder: the size is chosen from ``min_operations`` of training on."""

    num_layers: int
    hidden_size: int
    min_operations: float  # operations of the whole training


# Model sizes, smallest first.
_SIZE_LADDER = (
    _Size(1, 128, 0.0),  # operations; [guess]; not measured
    _Size(1, 256, 3e11),  # operations; [guess]; not measured
    _Size(1, 384, 4e12),  # operations; [muon], best of three sizes at 80 s; texts of about 1 M characters
    _Size(1, 512, 3.5e13),  # operations; [size], equal to 384 units after 300 s; texts of about 1 M characters
    _Size(2, 512, 7e13),  # operations; [size], better than 2 x 384 after 1,200 s; tiny Shakespeare
    _Size(2, 768, 4e14),  # operations; [best], 80 minutes of one core; tiny Shakespeare
    _Size(2, 1024, 1.5e15),  # operations; [guess]; not measured
)
_SHORT_TEXT_EPOCHS = 15  # epochs from which operations do not limit the size; [decay]; 12,000 to 97,000 characters
_SHORT_TEXT_MAX_HIDDEN = 512  # units of one layer chosen by that rule; [decay]; measured up to 384

# Dropout: (epochs from which on, share of the numbers dropped). The largest row that applies is used.
_DROPOUT = ((0, 0.0), (10, 0.1), (14, 0.2), (20, 0.3))  # share; [dropout]; one layer, 1 to 26 epochs, 10 to 20 guessed
_DROPOUT_DEEP = ((0, 0.0), (4, 0.1), (9, 0.2), (20, 0.3))  # share; [size]; two layers, 7 to 18 epochs

# weight_decay = _DECAY * (epochs / _DECAY_EPOCHS) ** exponent * (_DECAY_CHARACTERS / characters) ** exponent, clipped
_DECAY = 0.1  # as the setting; [decay], best of 0.05, 0.1 and 0.2; tiny Shakespeare
_DECAY_EPOCHS = 9.0  # epochs of that measurement; [decay]; 1.6 to 26 epochs
_DECAY_CHARACTERS = 9e5  # characters of that measurement; [decay]; 12,000 to 1.8 M characters
_DECAY_EPOCHS_EXPONENT = 0.5  # no unit; [decay], fitted; 1.6 to 26 epochs
_DECAY_CHARACTERS_EXPONENT = 0.4  # no unit; [decay], fitted; 12,000 to 1.8 M characters
_MIN_DECAY, _MAX_DECAY = 0.01, 0.8  # as the setting; [decay]; 0.02 to 1 were tried

# Length of a training whose length is left to charloom.
_GOOD_OPERATIONS = 3e13  # operations for 1 M characters; [guess] from [size], 300 s of two cores; tiny Shakespeare
_GOOD_OPERATIONS_EXPONENT = 0.75  # power of the text's length; [guess]; not measured
_MIN_SECONDS, _MAX_SECONDS = 20.0, 1200.0  # seconds; [guess]; longer trainings are asked for with --minutes

# Held-out text: more would make every evaluation slower and would not make the loss more certain.
_MAX_HELD_OUT = 300_000  # characters; [held-out], an evaluation of a tenth of 60 MB took minutes; alphabets below 1,000
_MAX_HELD_OUT_LARGE_ALPHABET = 100_000  # characters; [held-out]; 3,290 distinct characters

# Large alphabets: the output layer takes most of a step and grows with the batch, so small batches train faster.
_LARGE_ALPHABET = 1000  # distinct characters; [alphabet]; measured with 65 and 5,387
_LARGE_ALPHABET_BATCH = {  # settings; [alphabet]; Tang poems, 75 to 80 s
    "batch_size": 16,
    "seq_length": 16,
    "learning_rate": 0.01,
    "muon_ratio": 2.0,
}

# Lines that are separate texts, and streams.
_MAX_LINE_WINDOW = 128  # characters of a line through which gradients flow back; [guess]; not measured
_MIN_LINE_BATCHES = 4  # batches in one epoch over the lines; [guess]; not measured
_MIN_WINDOWS_PER_STREAM = 4  # windows; [guess], with fewer a stream carries no state worth keeping; not measured

# Expected loss, as a share of the loss of n-grams: _RATIO - _RATIO_FALL * log2(characters read / _RATIO_CHARACTERS).
_RATIO = 0.83  # no unit; [n-grams], fitted to eight trainings; seven texts, 1 to 5 minutes
_RATIO_CHARACTERS = 4.5e6  # characters read, repeats counted; [n-grams]; 0.28 M to 5.1 M
_RATIO_FALL = 0.03  # per doubling of the characters read; [n-grams], fitted; 0.28 M to 5.1 M
_MAX_RATIO, _MIN_RATIO = 1.0, 0.79  # no unit; [n-grams]; measured from 0.755 to 0.970
_RATIO_SPREAD = 0.1  # share of the middle; [n-grams], all eight were within a tenth; the same eight


@dataclass(frozen=True)
class Task:
    """The text and the machine a plan is made for.

    Attributes:
        characters: Length of the training text.
        alphabet: Number of distinct characters, V.
        speed: Speed of this machine in training, in operations of matrix products per second.
        line_lengths: Characters of each line, (M,), if lines are separate texts; otherwise None.
    """

    characters: int
    alphabet: int
    speed: float = NOMINAL_SPEED
    line_lengths: NDArray[np.int64] | None = field(default=None, repr=False, compare=False)


def adapt_settings(
    settings: Settings, task: Task, fixed: Collection[str] = (), notices: Notices | None = None
) -> Settings:
    """Return settings that suit a text, the time available and the machine.

    Args:
        settings: Settings of the recipe.
        task: Text and machine.
        fixed: Names of settings that the user chose; they stay as they are.
        notices: Receives a sentence about each change that a user may want to know of.
    """
    notices = Notices() if notices is None else notices

    # 1. batches
    if task.alphabet >= _LARGE_ALPHABET:
        settings = _use_large_alphabet_batch(settings, task, fixed, notices)
    if task.line_lengths is not None and len(task.line_lengths):
        settings = _with_free_values(settings, _line_batches(settings, task.line_lengths), fixed)
        task = replace(task, characters=len(task.line_lengths) * settings.seq_length)  # read padded to the window
    settings = _limit_streams(settings, task, fixed, notices)
    # 2. length
    if settings.minutes and "minutes" not in fixed:
        settings = settings.with_values({"minutes": _default_seconds(task) / 60})
    # 3. size, which depends on the length
    settings = _with_free_values(settings, _choose_size(settings, task), fixed)
    # 4. regularization, which depends on length and size
    return _with_free_values(settings, _choose_regularization(settings, task), fixed)


def limit_held_out(
    settings: Settings,
    characters: int,
    alphabet: int,
    fixed: Collection[str] = (),
    notices: Notices | None = None,
) -> Settings:
    """Return settings that hold out no more of a long text than an evaluation needs.

    Args:
        settings: Settings of the recipe.
        characters: Length of the whole text.
        alphabet: Number of distinct characters, V.
        fixed: Names of settings that the user chose; they stay as they are.
        notices: Receives a sentence if the share is lowered.
    """
    maximum = _MAX_HELD_OUT if alphabet < _LARGE_ALPHABET else _MAX_HELD_OUT_LARGE_ALPHABET
    if "val_fraction" in fixed or settings.val_fraction * characters <= maximum:
        return settings
    share = maximum / characters
    if notices is not None:
        notices.add(
            f"The text is long: holding out {maximum:,} characters ({share:.2%} of the text instead of "
            f"{settings.val_fraction:.0%}).",
            code="held_out_text_limited",
            held_out=maximum,
            val_fraction=share,
        )
    return settings.with_values({"val_fraction": share})


def cap_steps_for_overfitting(steps: int, steps_per_epoch: int, characters: int, notices: Notices | None = None) -> int:
    """Return the steps there is time for, but not more than ``MAX_EPOCHS`` epochs, after which a short text overfits.

    Args:
        steps: Updates there is time for.
        steps_per_epoch: Updates in one pass over the training text.
        characters: Length of the training text.
        notices: Receives a sentence if there are fewer steps.
    """
    maximum = MAX_EPOCHS * steps_per_epoch
    if steps <= maximum:
        return steps
    if notices is not None:
        notices.add(
            f"The training text is short ({characters:,} characters): training for {MAX_EPOCHS} epochs to limit "
            f"overfitting, although there is time for {steps / steps_per_epoch:,.0f}. Pass --epochs N to choose the "
            "number of epochs.",
            code="epochs_limited",
            characters=characters,
            epochs=MAX_EPOCHS,
            epochs_in_time=steps / steps_per_epoch,
        )
    return maximum


def calibration_settings(settings: Settings, task: Task) -> Settings:
    """Return settings of a medium size by which the speed is measured, with the batches that suit the alphabet."""
    large = _LARGE_ALPHABET_BATCH if task.alphabet >= _LARGE_ALPHABET else {}
    return Settings(cell=settings.cell, precision=settings.precision).with_values(large)


def expected_epochs(settings: Settings, task: Task) -> float:
    """Return how many passes over its text a training will make, as estimated from the speed of the machine."""
    if settings.epochs:
        return settings.epochs
    characters_per_step = settings.batch_size * settings.seq_length
    steps_in_time = settings.minutes * 60 * task.speed / step_operations(settings, task.alphabet)
    steps: float = settings.steps or steps_in_time
    return steps * characters_per_step / task.characters


def expected_bits(ngram_loss: float, characters_read: float) -> tuple[float, float]:
    """Return the range in which the held-out loss will probably end, in bits per character.

    Args:
        ngram_loss: Loss of n-grams on the same text, in nats per character.
        characters_read: Characters that the training reads, repeats counted; above 0.
    """
    ratio = _RATIO - _RATIO_FALL * math.log2(characters_read / _RATIO_CHARACTERS)
    middle = ngram_loss * min(max(ratio, _MIN_RATIO), _MAX_RATIO) / math.log(2)
    return middle * (1 - _RATIO_SPREAD), middle * (1 + _RATIO_SPREAD)


def _with_free_values(settings: Settings, values: Mapping[str, Any], fixed: Collection[str]) -> Settings:
    """Return settings with new values for those that the user did not choose."""
    return settings.with_values({name: value for name, value in values.items() if name not in fixed})


def _use_large_alphabet_batch(settings: Settings, task: Task, fixed: Collection[str], notices: Notices) -> Settings:
    changes = {
        name: value
        for name, value in _LARGE_ALPHABET_BATCH.items()
        if name not in fixed and value != getattr(settings, name)
    }
    if changes:
        notices.add(
            f"The vocabulary is large ({task.alphabet:,} characters): using "
            f"{', '.join(f'{name}={value}' for name, value in changes.items())}.",
            code="large_vocabulary",
            vocabulary_size=task.alphabet,
            settings=changes,
        )
    return settings.with_values(changes)


def _default_seconds(task: Task) -> float:
    seconds: float = _GOOD_OPERATIONS * (task.characters / 1e6) ** _GOOD_OPERATIONS_EXPONENT / task.speed
    return min(max(seconds, _MIN_SECONDS), _MAX_SECONDS)


def _line_batches(settings: Settings, lengths: NDArray[np.int64]) -> dict[str, int]:
    """Return windows that hold most lines completely, and batches with as many characters as those of a text."""
    window = int(min(lengths.max() + 1, _MAX_LINE_WINDOW))
    mean = float(np.minimum(lengths + 1, window).mean())
    rows = round(settings.batch_size * settings.seq_length / mean)
    return {"seq_length": window, "batch_size": max(1, min(rows, len(lengths) // _MIN_LINE_BATCHES))}


def _limit_streams(settings: Settings, task: Task, fixed: Collection[str], notices: Notices) -> Settings:
    """Return settings with a smaller batch if a short text has too few windows for each stream."""
    maximum = max(1, (task.characters - 1) // (_MIN_WINDOWS_PER_STREAM * settings.seq_length))
    if "batch_size" in fixed or settings.batching != "streams" or settings.batch_size <= maximum:
        return settings
    notices.add(
        f"The training text is short ({task.characters:,} characters): reading it in {maximum} parallel streams "
        f"(batch_size) instead of {settings.batch_size}.",
        code="streams_limited",
        characters=task.characters,
        batch_size=maximum,
        default=settings.batch_size,
    )
    return settings.with_values({"batch_size": maximum})


def _choose_size(settings: Settings, task: Task) -> dict[str, int]:
    """Return the largest layers and units of the ladder that there is time to train."""
    chosen: dict[str, int] = {}
    for num_layers, hidden_size, min_operations in _SIZE_LADDER:
        size = {"num_layers": num_layers, "hidden_size": hidden_size}
        epochs = expected_epochs(settings.with_values(size), task)
        is_short_text = epochs >= _SHORT_TEXT_EPOCHS and num_layers == 1 and hidden_size <= _SHORT_TEXT_MAX_HIDDEN
        if not chosen or is_short_text or _available_operations(settings, task) >= min_operations:
            chosen = size
    return chosen


def _available_operations(settings: Settings, task: Task) -> float:
    """Return the operations in the time available; of steps or epochs, those that the given size takes."""
    if settings.minutes:
        return settings.minutes * 60 * task.speed
    operations_per_character = step_operations(settings, task.alphabet) / (settings.batch_size * settings.seq_length)
    return expected_epochs(settings, task) * task.characters * operations_per_character


def _choose_regularization(settings: Settings, task: Task) -> dict[str, float]:
    """Return dropout and weight decay: more for more epochs and for a shorter text."""
    epochs = expected_epochs(settings, task)
    if settings.minutes:
        epochs = min(epochs, MAX_EPOCHS)
    table = _DROPOUT if settings.num_layers == 1 else _DROPOUT_DEEP
    dropout = max(share for min_epochs, share in table if epochs >= min_epochs)
    decay = (
        _DECAY
        * (epochs / _DECAY_EPOCHS) ** _DECAY_EPOCHS_EXPONENT
        * (_DECAY_CHARACTERS / task.characters) ** _DECAY_CHARACTERS_EXPONENT
    )
    decay = round(min(max(decay, _MIN_DECAY), _MAX_DECAY), 3)
    return {"dropout_output": dropout, "dropout_hidden": dropout, "weight_decay": decay}
