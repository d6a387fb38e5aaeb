"""Rules of the recipe ``auto``: size, batches, regularization and length for a text, a time budget and a machine.

Every rule is arithmetic on the settings, the text and a measured speed; nothing is measured here. ``adapt_settings``
applies the rules in order.

Each constant below states its unit, its evidence and the range in which that was measured; outside the range it is an
extrapolation. The evidence is a record of docs/decisions/planning.md:

    [epochs]   "Weight decay grows with epochs and falls with text length"
    [dropout]  "No dropout below ten epochs"
    [size]     "The model grows with the operations of the whole training"
    [best]     "The recipe best reaches 1.3510 on one core"
    [large]    "Large alphabets use small batches"
    [loss]     "The expected loss is predicted from n-grams"
    [short]    "The loss of a short training follows from the characters read"
    [held out] "Long texts hold out a limited part"
    [guess]    chosen without a measurement
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
"""Operations per second if no speed was measured: that of two cores of a laptop. Valid for CPUs with 1 to 4 cores."""

MAX_EPOCHS = 25
"""Maximum number of epochs if time limits the training. [epochs]: the held-out loss rose from 23 to 45 epochs. Measured
on 12,000 characters."""


# --- Model size ---------------------------------------------------------------------------------------------------


class _Size(NamedTuple):
    """A model size, chosen if the whole training has at least ``min_operations``."""

    num_layers: int
    hidden_size: int
    min_operations: float  # multiplications and additions of the whole training


# Model sizes, smallest first. Measured on texts of about 1 million characters.
_SIZE_LADDER = (
    _Size(1, 128, 0.0),  # [guess]
    _Size(1, 256, 3e11),  # [guess]
    _Size(1, 384, 4e12),  # [size]: the best of three sizes after 80 s
    _Size(1, 512, 3.5e13),  # [size]: as good as 384 units after 300 s
    _Size(2, 512, 7e13),  # [size]: better than 2 x 384 after 1,200 s
    _Size(2, 768, 4e14),  # [best]: 1.3510 after 80 minutes of one core; 2 x 512 reached 1.3614 in 20 minutes
    _Size(2, 1024, 1.5e15),  # [guess]
)
# From this many epochs on, one layer may be as large as _SHORT_TEXT_MAX_HIDDEN, however few operations there are.
_SHORT_TEXT_EPOCHS = 15  # epochs; [epochs]: 384 units were better than 256; measured on 12,000 to 97,000 characters
_SHORT_TEXT_MAX_HIDDEN = 512  # units; [epochs]; measured up to 384 units


# --- Regularization -----------------------------------------------------------------------------------------------

# (minimum number of epochs, dropout rate). The highest rate whose minimum is reached applies.
_DROPOUT_ONE_LAYER = (
    (0, 0.0),
    (10, 0.1),
    (14, 0.2),
    (20, 0.3),
)  # [dropout]; measured from 1 to 26 epochs, 10 to 20 guessed
_DROPOUT_MORE_LAYERS = ((0, 0.0), (4, 0.1), (9, 0.2), (20, 0.3))  # [size]; measured with two layers, 7 to 18 epochs

# weight_decay = _DECAY * (epochs / _DECAY_EPOCHS)**0.5 * (_DECAY_CHARACTERS / characters)**0.4, within its limits.
_DECAY = 0.1  # value of the setting; [epochs]: the best of 0.05, 0.1 and 0.2 at the reference point below
_DECAY_EPOCHS = 9.0  # epochs at the reference point; [epochs]; measured from 1.6 to 26
_DECAY_CHARACTERS = 9e5  # characters at the reference point; [epochs]; measured from 12,000 to 1.8 million
_DECAY_EPOCHS_EXPONENT = 0.5  # no unit; [epochs], fitted
_DECAY_CHARACTERS_EXPONENT = 0.4  # no unit; [epochs], fitted
_MIN_DECAY, _MAX_DECAY = 0.01, 0.8  # value of the setting; [epochs]; measured from 0.02 to 1


# --- Length, if neither minutes, epochs nor steps are given -------------------------------------------------------

# operations = _DEFAULT_OPERATIONS * (characters / 1e6)**0.75, then as seconds within the limits.
_DEFAULT_OPERATIONS = 3e13  # for 1 million characters; [guess], about 300 s of two cores on tiny Shakespeare
_DEFAULT_OPERATIONS_EXPONENT = 0.75  # no unit; [guess]
_MIN_SECONDS, _MAX_SECONDS = 20.0, 1200.0  # seconds; [guess]; --minutes overrides them


# --- Held-out text ------------------------------------------------------------------------------------------------

# More held-out text makes every evaluation slower without making the loss more certain.
_MAX_HELD_OUT = 300_000  # characters; [held out]: evaluating a tenth of 60 MB took minutes
_MAX_HELD_OUT_LARGE_VOCABULARY = 100_000  # characters; [held out]; measured with 3,290 distinct characters


# --- Large vocabularies -------------------------------------------------------------------------------------------

# The output layer takes most of a step and its time grows with the batch, so small batches train faster.
_LARGE_VOCABULARY = 1000  # distinct characters; [large]; measured with 65 and 5,387
_LARGE_VOCABULARY_SETTINGS = {  # [large]; measured for 75 to 80 s on Tang poems
    "batch_size": 16,
    "seq_length": 16,
    "learning_rate": 0.01,
    "muon_ratio": 2.0,
}


# --- Lines and streams --------------------------------------------------------------------------------------------

_MAX_LINE_WINDOW = 128  # characters of a line through which gradients flow; [guess]
_MIN_LINE_BATCHES = 4  # batches per epoch over the lines; [guess]
_MIN_WINDOWS_PER_STREAM = 4  # windows; [guess]: with fewer, carrying the state between windows is of little use


# --- Expected loss ------------------------------------------------------------------------------------------------

# loss / n-gram loss = _LOSS_RATIO - _LOSS_RATIO_SLOPE * log2(characters read / _LOSS_RATIO_CHARACTERS), within limits.
# [loss]: fitted to eight trainings of 1 to 5 minutes on seven texts.
_LOSS_RATIO = 0.83  # no unit
_LOSS_RATIO_CHARACTERS = 4.5e6  # characters read, repeats included; measured from 0.28 to 5.1 million
_LOSS_RATIO_SLOPE = 0.03  # per doubling of the characters read
_MIN_LOSS_RATIO, _MAX_LOSS_RATIO = 0.79, 1.0  # no unit; measured from 0.755 to 0.970
_LOSS_SPREAD = 0.1  # relative; all eight training runs were within a tenth of the prediction

# A short training is limited by what it has read, not by the text: its loss is at least this share of the unigram loss,
# by characters read; values between two entries are interpolated over the logarithm.
# [short]: means of six texts of 12,000 to 1.7 million characters
_SHORT_TRAINING_SHARES = (
    (15_000, 1.0),
    (31_000, 0.94),
    (61_000, 0.81),
    (123_000, 0.715),
    (256_000, 0.63),
    (512_000, 0.56),
    (1_024_000, 0.475),
    (2_048_000, 0.42),
)


@dataclass(frozen=True)
class Task:
    """The text and the machine for which a training run is planned.

    Attributes:
        characters: Length of the training text.
        vocabulary_size: Number of distinct characters, V.
        speed: Training speed of this machine, in operations of matrix products per second.
        record_lengths: Characters of each line or record, (M,), if these are separate texts; otherwise None.
    """

    characters: int
    vocabulary_size: int
    speed: float = NOMINAL_SPEED
    record_lengths: NDArray[np.int64] | None = field(default=None, repr=False, compare=False)


def adapt_settings(
    settings: Settings, task: Task, fixed: Collection[str] = (), notices: Notices | None = None
) -> Settings:
    """Adapt settings to a text, the time available and the machine.

    Args:
        settings: Settings of the recipe.
        task: Text and machine.
        fixed: Names of settings that the user chose; they are not changed.
        notices: Collects a notice about each change that users should know about.
    """
    notices = Notices() if notices is None else notices
    # 1. batches
    if task.vocabulary_size >= _LARGE_VOCABULARY:
        settings = _adapt_to_large_vocabulary(settings, task, fixed, notices)
    if task.record_lengths is not None and len(task.record_lengths):
        settings = _with_free_values(settings, _line_batches(settings, task.record_lengths), fixed)
        windows = len(task.record_lengths)  # records are padded to whole windows
        if "seq_length" not in fixed:
            windows = int((-(-(task.record_lengths + 1) // settings.seq_length)).sum())
        task = replace(task, characters=windows * settings.seq_length)
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
    vocabulary_size: int,
    fixed: Collection[str] = (),
    notices: Notices | None = None,
) -> Settings:
    """Lower ``val_fraction`` on a long text to the amount of held-out text that an evaluation needs.

    Args:
        settings: Settings of the recipe.
        characters: Length of the whole text.
        vocabulary_size: Number of distinct characters, V.
        fixed: Names of settings that the user chose; they are not changed.
        notices: Collects a notice if the fraction is lowered.
    """
    maximum = _MAX_HELD_OUT if vocabulary_size < _LARGE_VOCABULARY else _MAX_HELD_OUT_LARGE_VOCABULARY
    if "val_fraction" in fixed or settings.val_fraction * characters <= maximum:
        return settings
    fraction = maximum / characters
    if notices is not None:
        notices.add(
            f"The text is long: holding out {maximum:,} characters ({fraction:.2%} of the text instead of "
            f"{settings.val_fraction:.0%}).",
            code="held_out_text_limited",
            held_out=maximum,
            val_fraction=fraction,
        )
    return settings.with_values({"val_fraction": fraction})


def cap_steps_for_overfitting(steps: int, steps_per_epoch: int, characters: int, notices: Notices | None = None) -> int:
    """Limit the steps of a training run to ``MAX_EPOCHS`` epochs, after which a model overfits a short text.

    Args:
        steps: Steps for which there is time.
        steps_per_epoch: Steps in one epoch.
        characters: Length of the training text.
        notices: Collects a notice if the steps are reduced.
    """
    maximum = max_steps_without_overfitting(steps_per_epoch)
    if steps <= maximum:
        return steps
    if notices is not None:
        notices.add(
            f"The training text is short ({characters:,} characters): training for {MAX_EPOCHS} epochs to limit "
            f"overfitting, although there is time for {steps / steps_per_epoch:,.1f}. Pass --epochs N to choose the "
            "number of epochs.",
            code="epochs_limited",
            characters=characters,
            epochs=MAX_EPOCHS,
            epochs_in_time=steps / steps_per_epoch,
        )
    return maximum


def max_steps_without_overfitting(steps_per_epoch: int) -> int:
    """Return the number of steps after which a model overfits a short text."""
    return MAX_EPOCHS * steps_per_epoch


def calibration_settings(settings: Settings, task: Task) -> Settings:
    """Return settings of medium size with which the speed of the machine is measured."""
    large = _LARGE_VOCABULARY_SETTINGS if task.vocabulary_size >= _LARGE_VOCABULARY else {}
    return Settings(cell=settings.cell, precision=settings.precision).with_values(large)


def expected_epochs(settings: Settings, task: Task) -> float:
    """Estimate the number of epochs of a training run, from the speed of the machine if its length is a time."""
    if settings.epochs:
        return settings.epochs
    characters_per_step = settings.batch_size * settings.seq_length
    steps_in_time = settings.minutes * 60 * task.speed / step_operations(settings, task.vocabulary_size)
    steps: float = settings.steps or steps_in_time
    return steps * characters_per_step / task.characters


def expected_bits(ngram_loss: float, unigram_loss: float, characters_read: float) -> tuple[float, float] | None:
    """Predict the range of the final held-out loss, in bits per character.

    Args:
        ngram_loss: Loss of the n-gram baseline on the held-out text, in nats per character.
        unigram_loss: Loss of the unigram baseline on the held-out text, in nats per character.
        characters_read: Characters that the training reads, repeats included; above 0.

    Returns:
        The range, or None for a training that reads less than what was measured.
    """
    reads, shares = zip(*_SHORT_TRAINING_SHARES, strict=True)
    if characters_read < reads[0]:
        return None
    ratio = _LOSS_RATIO - _LOSS_RATIO_SLOPE * math.log2(characters_read / _LOSS_RATIO_CHARACTERS)
    limited_by_text = ngram_loss * min(max(ratio, _MIN_LOSS_RATIO), _MAX_LOSS_RATIO)
    share = float(np.interp(math.log2(characters_read), np.log2(reads), shares, right=0.0))
    middle = max(limited_by_text, share * unigram_loss) / math.log(2)
    return middle * (1 - _LOSS_SPREAD), middle * (1 + _LOSS_SPREAD)


def _with_free_values(settings: Settings, values: Mapping[str, Any], fixed: Collection[str]) -> Settings:
    """Replace settings, except those that the user chose."""
    return settings.with_values({name: value for name, value in values.items() if name not in fixed})


def _adapt_to_large_vocabulary(settings: Settings, task: Task, fixed: Collection[str], notices: Notices) -> Settings:
    changes = {
        name: value
        for name, value in _LARGE_VOCABULARY_SETTINGS.items()
        if name not in fixed and value != getattr(settings, name)
    }
    if changes:
        notices.add(
            f"The vocabulary is large ({task.vocabulary_size:,} characters): using "
            f"{', '.join(f'{name}={value}' for name, value in changes.items())}.",
            code="large_vocabulary",
            vocabulary_size=task.vocabulary_size,
            settings=changes,
        )
    return settings.with_values(changes)


def _default_seconds(task: Task) -> float:
    """Return the duration of a training run whose length is not given."""
    operations = _DEFAULT_OPERATIONS * (task.characters / 1e6) ** _DEFAULT_OPERATIONS_EXPONENT
    seconds: float = operations / task.speed
    return min(max(seconds, _MIN_SECONDS), _MAX_SECONDS)


def _line_batches(settings: Settings, lengths: NDArray[np.int64]) -> dict[str, int]:
    """Choose windows that hold most lines completely, and as many characters per batch as for continuous text."""
    window = int(min(lengths.max() + 1, _MAX_LINE_WINDOW))
    mean = float(np.minimum(lengths + 1, window).mean())
    rows = round(settings.batch_size * settings.seq_length / mean)
    return {"seq_length": window, "batch_size": max(1, min(rows, len(lengths) // _MIN_LINE_BATCHES))}


def _limit_streams(settings: Settings, task: Task, fixed: Collection[str], notices: Notices) -> Settings:
    """Lower the batch size if a short text has too few windows per stream."""
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
    """Choose the largest size of the ladder that can be trained in the time available."""
    chosen: dict[str, int] = {}
    for num_layers, hidden_size, min_operations in _SIZE_LADDER:
        size = {"num_layers": num_layers, "hidden_size": hidden_size}
        epochs = expected_epochs(settings.with_values(size), task)
        is_short_text = epochs >= _SHORT_TEXT_EPOCHS and num_layers == 1 and hidden_size <= _SHORT_TEXT_MAX_HIDDEN
        if not chosen or is_short_text or _available_operations(settings, task) >= min_operations:
            chosen = size
    return chosen


def _available_operations(settings: Settings, task: Task) -> float:
    """Return the operations of the whole training: those in its time, or those of its steps at the current size."""
    if settings.minutes:
        return settings.minutes * 60 * task.speed
    characters_per_step = settings.batch_size * settings.seq_length
    operations_per_character = step_operations(settings, task.vocabulary_size) / characters_per_step
    return expected_epochs(settings, task) * task.characters * operations_per_character


def _choose_regularization(settings: Settings, task: Task) -> dict[str, float]:
    """Choose dropout and weight decay: more for more epochs and, for weight decay, for a shorter text."""
    epochs = expected_epochs(settings, task)
    if settings.minutes:
        epochs = min(epochs, MAX_EPOCHS)
    table = _DROPOUT_ONE_LAYER if settings.num_layers == 1 else _DROPOUT_MORE_LAYERS
    dropout = max(rate for min_epochs, rate in table if epochs >= min_epochs)
    decay = (
        _DECAY
        * (epochs / _DECAY_EPOCHS) ** _DECAY_EPOCHS_EXPONENT
        * (_DECAY_CHARACTERS / task.characters) ** _DECAY_CHARACTERS_EXPONENT
    )
    decay = round(min(max(decay, _MIN_DECAY), _MAX_DECAY), 3)
    return {"dropout_output": dropout, "dropout_hidden": dropout, "weight_decay": decay}
