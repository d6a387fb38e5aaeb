"""Everything between a corpus and the first step: split, sizes, device, speed, plan."""

import math
import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from charloom.data.baselines import Baselines, baselines
from charloom.data.corpus import Corpus, Parts
from charloom.data.index.index import Ids
from charloom.data.ngrams import ngram_loss
from charloom.data.splits import LineIds, in_a_row
from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import CorpusError, SettingsError
from charloom.model.architecture import Architecture
from charloom.model.file.model_file import SavedModel
from charloom.model.initializers import Weights, initial_weights
from charloom.planning.expected_loss import expected_bits
from charloom.planning.heuristics import Task, enough, held_out, reference, suit
from charloom.planning.recipes import PLANNED, Recipe
from charloom.planning.schedule import (
    Plan,
    check_window,
    evaluations_in_time,
    make_plan,
    steps_in_time,
    steps_per_epoch,
)
from charloom.planning.settings import Settings
from charloom.training.backends import choose_device, make_backend
from charloom.training.backends.base import Device, TrainingBackend
from charloom.training.distributed.config_check import check_beginning
from charloom.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from charloom.training.throughput import machine_speed, step_seconds
from charloom.training.vocabulary_extension import SIZES, grown_vocabulary, grown_weights, sizes_of

_LOOKS = 3  # at the speed of a GPU


@dataclass(frozen=True)
class Preparation:
    """A training that is ready to be planned.

    Attributes:
        corpus: What it learns from.
        recipe: As asked for.
        settings: The recipe's, fitted to the corpus; the device's precision is in them.
        architecture: What is trained.
        device: Where.
        training: Ids of the training text, or of lines.
        validation: Those of the held-out text; empty where nothing is held out.
        baselines: What guessing costs.
        notices: What was changed to fit the corpus.
        vocabulary: The corpus', or that of the model to begin with, and what the corpus adds to it.
        weights: To begin with; None: drawn.
        ranks: The processes that train together.
    """

    corpus: Corpus
    recipe: Recipe
    settings: Settings
    architecture: Architecture
    device: Device
    training: Ids | LineIds
    validation: Ids | LineIds
    baselines: Baselines
    notices: tuple[str, ...]
    vocabulary: Vocabulary
    weights: Weights | None = None
    ranks: ProcessGroup = SINGLE_PROCESS

    @property
    def line_lengths(self) -> NDArray[np.int64] | None:
        """Characters of each line to train on, where they are texts of their own."""
        return self.training.lengths if isinstance(self.training, LineIds) else None

    @property
    def steps_per_epoch(self) -> int:
        """Updates in one pass over the training text."""
        return steps_per_epoch(self.settings, len(self.training), self.line_lengths)

    def make_backend(self, settings: Settings | None = None) -> TrainingBackend:
        """Return a backend with the weights before the first step.

        Args:
            settings: Of the plan; by default those of the preparation.
        """
        weights = initial_weights(self.architecture, self.settings.seed) if self.weights is None else self.weights
        return make_backend(self.architecture, weights, settings or self.settings, self.device, self.ranks)


def prepare(
    corpus: Corpus,
    recipe: Recipe,
    device_name: str = "auto",
    init: SavedModel | None = None,
    fit: bool = True,
    ranks: ProcessGroup = SINGLE_PROCESS,
) -> Preparation:
    """Split and encode a corpus, and settle everything that needs no measuring.

    Args:
        corpus: What to learn from.
        recipe: All choices.
        device_name: See ``charloom.training.backends.base.DEVICES``.
        init: The model to begin with; None: a new one.
        fit: Whether a recipe that is planned may be changed to suit the corpus.
        ranks: The processes that train together.

    Raises:
        CorpusError: If a part of the corpus is too short.
        SettingsError: If the settings do not suit the corpus, the model or the processes, or there is no such device;
            or if processes were not given the same.
    """
    check_beginning(ranks, corpus, recipe, init)
    settings = recipe.settings if init is None else sizes_of(init.architecture, recipe)
    planned = recipe.name in PLANNED and fit
    choices: tuple[str, ...] = ()
    if planned:
        settings, choices = held_out(settings, len(corpus), len(corpus.vocabulary), recipe.fixed)
    parts = _parts(corpus, settings)
    vocabulary, notices = (corpus.vocabulary, ()) if init is None else grown_vocabulary(init.vocabulary, corpus)
    device = _device(device_name, settings.precision, ranks)
    training, validation = parts.training.ids(vocabulary), parts.validation.ids(vocabulary)
    settings, about_lines = _batched(settings, corpus, recipe)
    notices = (*notices, *choices, *about_lines)
    if planned:
        fixed = recipe.fixed if init is None else recipe.fixed.union(SIZES)
        settings, choices = _suited(settings, fixed, training, len(vocabulary), device, ranks)
        notices = (*notices, *choices)
    architecture = settings.architecture(len(vocabulary))
    ready = Preparation(
        corpus=corpus,
        recipe=recipe,
        settings=replace(settings, precision=device.precision),
        architecture=architecture,
        device=device,
        training=training,
        validation=validation,
        baselines=_baselines(training, validation, len(vocabulary)),
        notices=notices,
        vocabulary=vocabulary,
        weights=None if init is None else grown_weights(init.weights, architecture, settings.seed),
        ranks=ranks,
    )
    _check_rows(settings, ranks)
    _ = ready.steps_per_epoch  # refuses what cannot be read in these batches
    return ready


def _parts(corpus: Corpus, settings: Settings) -> Parts:
    parts = corpus.parts(settings.val_fraction, settings.test_fraction)
    if settings.val_fraction and len(parts.validation) < 2:
        raise CorpusError(
            f"Of {len(corpus)} characters, val_fraction {settings.val_fraction} holds out "
            f"{len(parts.validation)}: too few to judge by. Give a longer text, or --val-fraction 0."
        )
    return parts


def _check_rows(settings: Settings, ranks: ProcessGroup) -> None:
    if settings.batch_size < ranks.size:
        raise SettingsError(
            f"batch_size {settings.batch_size} cannot be divided among {ranks.size} processes, each of which needs a "
            f"row at least. Start fewer, or give more rows: --set batch_size={16 * ranks.size}."
        )


def _device(name: str, precision: str, ranks: ProcessGroup) -> Device:
    """Return the device of this process; all multiply as precisely as the first one does."""
    device = choose_device(name, ranks.broadcast(choose_device(name, precision).precision))
    if ranks.size == 1:
        return device
    return replace(device, description=f"{ranks.size} processes, the first on: {device.description}")


def _batched(settings: Settings, corpus: Corpus, recipe: Recipe) -> tuple[Settings, tuple[str, ...]]:
    """Return settings whose batches suit a text or lines.

    Raises:
        SettingsError: If the user asked for batches of the one and gave the other.
    """
    wanted = settings.batching == "lines"
    if wanted and not corpus.format.lines:
        raise SettingsError("batching lines reads every line as a text of its own. Say so with --lines.")
    if not corpus.format.lines:
        return settings, ()
    if not wanted and "batching" in recipe.fixed:
        raise SettingsError(f"With --lines, batching is lines; {settings.batching} was asked for. Leave out one.")
    lines, empty = corpus.lines
    left_out = f"; {empty:,} empty ones are left out" if empty else ""
    said = f"{len(lines.starts):,} lines are texts of their own{left_out}."
    return settings.with_values({"batching": "lines"}), (said,)


def _baselines(training: Ids | LineIds, validation: Ids | LineIds, alphabet: int) -> Baselines:
    learned, judged = in_a_row(training), in_a_row(validation)
    if len(judged) == 0:
        return baselines(learned, learned, alphabet)
    return replace(baselines(learned, judged, alphabet), ngrams=ngram_loss(learned, judged, alphabet))


def _suited(
    settings: Settings,
    fixed: frozenset[str],
    training: Ids | LineIds,
    alphabet: int,
    device: Device,
    ranks: ProcessGroup,
) -> tuple[Settings, tuple[str, ...]]:
    """Return what charloom plans; the machine is measured only where the length is a time.

    A GPU takes about as long for a small network as for a middling one, so that its speed is that of the size it is
    measured with: it is measured again with the size that was chosen.
    """
    task = Task(len(training), alphabet)
    if isinstance(training, LineIds):
        task = replace(task, line_lengths=training.lengths)
    else:
        check_window(settings, len(training))
    if settings.steps or settings.epochs:
        return suit(settings, task, fixed)
    available = settings.minutes * 60 if "minutes" in fixed else math.inf
    measured = reference(settings, task)
    for _ in range(1 if device.name == "cpu" else _LOOKS):
        speed = machine_speed(in_a_row(training), alphabet, measured, device, available, ranks)
        suited, notices = suit(settings, replace(task, speed=speed), fixed)
        if suited.architecture(alphabet) == measured.architecture(alphabet):
            break
        measured = suited
    return suited, notices


def resolve_plan(ready: Preparation, began: float, evaluation_seconds: float) -> Plan:
    """Return the plan of a training: minutes become steps here, once, by measuring this machine.

    Args:
        ready: The preparation.
        began: When the time asked for began, by ``time.perf_counter``.
        evaluation_seconds: What one evaluation takes.
    """
    settings, characters, notices = ready.settings, len(ready.training), ready.notices
    epoch = ready.steps_per_epoch
    steps = settings.steps or settings.epochs * epoch
    evaluations, a_step = None, 0.0
    if settings.minutes:
        a_step = measure_step_seconds(ready, settings.minutes * 60)
        left = settings.minutes * 60 - ready.ranks.broadcast(time.perf_counter() - began)
        evaluations = evaluations_in_time(left, evaluation_seconds)
        steps = steps_in_time(left, a_step, evaluation_seconds, settings.eval_every)
        if ready.recipe.name in PLANNED:
            steps, why = enough(steps, epoch, characters)
            notices = (*notices, *why)
    plan = make_plan(settings, characters, steps, notices, ready.recipe.fixed, evaluations, ready.line_lengths)
    seconds = time.perf_counter() - began + steps * (a_step + evaluation_seconds / plan.settings.eval_every)
    read = round(steps / epoch * characters)
    ngrams = ready.baselines.ngrams
    expected = None if ngrams is None else expected_bits(ngrams, read)
    return replace(plan, seconds=seconds if a_step else None, expected_bits=expected)


def measure_step_seconds(ready: Preparation, available: float = math.inf) -> float:
    """Return the mean time of a step of this training, of whose seconds it takes a small share."""
    return step_seconds(ready.make_backend(), ready.training, ready.settings, available, ready.ranks)


def first_evaluation(ready: Preparation) -> tuple[float | None, float]:
    """Return the held-out loss before the first step (None where nothing is held out), and its seconds."""
    if len(ready.validation) == 0:
        return None, 0.0
    began = time.perf_counter()
    loss = ready.make_backend().evaluate(ready.validation)
    return loss, ready.ranks.broadcast(time.perf_counter() - began)
