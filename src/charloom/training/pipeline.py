"""The stages from a text to a running training. Every way to start a training run uses them.

A stage is a function with one input and one frozen result. After stage 4 the settings are complete except for the
number of steps; after stage 6 they are complete. Stages measure; ``charloom.planning`` turns the measurements into
settings and does arithmetic only. Stages add notices for the user to ``TrainingRequest.notices``, in order.

    stage                                        input -> result
    1  Corpus.read                               paths, text format -> Corpus
    2  build_vocabulary                          TrainingRequest -> TrainingText
         settings of the recipe (sizes from --init), held-out split, vocabulary built or extended
    3  encode_on_device                          TrainingText -> EncodedText
         device and precision, ids, batching for lines
    4  choose_settings                           EncodedText -> TrainingSetup
         speed measured with a small network, sizes and regularization from planning.heuristics, initial weights
    5  measure                                   TrainingSetup -> Measurements
         seconds per evaluation and per step of the chosen network
    6  complete_plan                             TrainingSetup, Measurements -> Plan
         minutes or epochs converted to steps by planning.schedule
    7  Trainer (charloom.training.trainer)       TrainingSetup, Plan, RunFiles -> Trainer
         backend, batches, run folder
    8  Trainer.train                             -> records

``prepare`` runs stages 2 to 4. Commands and their stages:

    charloom train, charloom.train               1 to 8 (training.run); the run folder is created after stage 4
    --init MODEL                                 1 to 8; stage 2 extends the vocabulary of TrainingRequest.init
    --plan                                       1 to 6
    --resume                                     1 with the paths stored in the run; 2 to 4 with the model and the fixed
                                                 settings of the checkpoint; training.resume replaces 5 and 6
    --resume --new-text                          as --resume; stage 2 extends the vocabulary, stage 4 may lower
                                                 batch_size
    charloom tune                                1 to 4 once for the plan around which it searches; 1 to 5 to warm up;
                                                 2 to 8 for every trial with all settings fixed (tuning.search)
"""

import math
import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom._version import __version__
from charloom.data.baselines import Baselines, baselines, ngram_loss
from charloom.data.corpus import Corpus
from charloom.data.index.index import Ids
from charloom.data.splits import CorpusSplit, RecordIds, flatten_ids
from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import CorpusError, SettingsError
from charloom.model.architecture import Architecture
from charloom.model.file.model_file import SavedModel
from charloom.model.initializers import Weights, initial_weights
from charloom.planning.heuristics import Task, adapt_settings, calibration_settings, limit_held_out
from charloom.planning.recipes import PLANNED, Recipe
from charloom.planning.schedule import Measurements, Plan, check_window, plan_training, steps_per_epoch
from charloom.planning.settings import Notices, Settings
from charloom.training.backends import choose_device, make_backend
from charloom.training.backends.base import Device, TrainingBackend
from charloom.training.distributed.config_check import check_same_request
from charloom.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from charloom.training.history import History
from charloom.training.throughput import machine_speed, step_seconds
from charloom.training.vocabulary_extension import (
    MODEL_SIZES,
    extend_vocabulary,
    extend_weights,
    settings_with_model_sizes,
)

_FEW_LINES = 3  # at most this number of lines with at least _LONG_TEXT characters is probably a continuous text
_LONG_TEXT = 10_000
_MAX_CALIBRATIONS = 3  # speed measurements on a GPU, each with the size chosen after the previous one


@dataclass(frozen=True)
class TrainingRequest:
    """A request to train: the input of the pipeline.

    Attributes:
        corpus: The whole text.
        recipe: Requested settings.
        device: See ``charloom.training.backends.base.DEVICES``.
        init: Initial model; None for random initial weights.
        may_adapt: Whether the settings of the recipes in ``PLANNED`` may be adapted to the text and the machine.
        process_group: Processes that train together; all of them make the same request.
        notices: Collects notices for the user.
        began: Start of the time budget, as a value of ``time.perf_counter``.
    """

    corpus: Corpus
    recipe: Recipe
    device: str = "auto"
    init: SavedModel | None = None
    may_adapt: bool = True
    process_group: ProcessGroup = SINGLE_PROCESS
    notices: Notices = field(default_factory=Notices)
    began: float = field(default_factory=time.perf_counter)

    @property
    def is_adapted(self) -> bool:
        """Whether the settings are adapted to the text and the machine."""
        return self.may_adapt and self.recipe.name in PLANNED

    @property
    def fixed(self) -> frozenset[str]:
        """Names of settings that are not adapted: those the user chose, and the sizes of an initial model."""
        return self.recipe.fixed if self.init is None else self.recipe.fixed.union(MODEL_SIZES)


@dataclass(frozen=True)
class TrainingText:
    """Result of stage 2: the text split and its vocabulary.

    Attributes:
        request: Input of the pipeline.
        settings: Settings of the recipe, with the sizes of the initial model and the final ``val_fraction``.
        parts: Training, validation and test part of the corpus.
        vocabulary: Vocabulary of the corpus; or that of the initial model, extended by the new characters.
    """

    request: TrainingRequest
    settings: Settings
    parts: CorpusSplit
    vocabulary: Vocabulary


@dataclass(frozen=True)
class EncodedText:
    """Result of stage 3: the text as ids, and the training device.

    Attributes:
        request: Input of the pipeline.
        settings: Settings of stage 2 with the batching that the text requires.
        vocabulary: Vocabulary of V characters.
        device: Device and precision.
        training: Ids of the training text, or of its lines.
        validation: Ids of the held-out text; empty if nothing is held out.
    """

    request: TrainingRequest
    settings: Settings
    vocabulary: Vocabulary
    device: Device
    training: Ids | RecordIds
    validation: Ids | RecordIds


@dataclass(frozen=True)
class TrainingSetup:
    """Result of stage 4: everything that defines a training run except its number of steps.

    Attributes:
        request: Input of the pipeline.
        settings: Settings adapted to the text and the machine; ``precision`` is that of the device.
        architecture: Architecture of the network.
        device: Device and precision.
        training: Ids of the training text, or of its lines.
        validation: Ids of the held-out text; empty if nothing is held out.
        baselines: Losses of the uniform, unigram and n-gram baselines.
        vocabulary: Vocabulary of V characters.
        weights: Initial weights; None for random weights drawn with the seed.
    """

    request: TrainingRequest
    settings: Settings
    architecture: Architecture
    device: Device
    training: Ids | RecordIds
    validation: Ids | RecordIds
    baselines: Baselines
    vocabulary: Vocabulary
    weights: Weights | None = None

    @property
    def corpus(self) -> Corpus:
        """The whole text."""
        return self.request.corpus

    @property
    def recipe(self) -> Recipe:
        """Requested settings."""
        return self.request.recipe

    @property
    def process_group(self) -> ProcessGroup:
        """Processes that train together."""
        return self.request.process_group

    @property
    def record_lengths(self) -> NDArray[np.int64] | None:
        """Characters of each training line, (M,); None if the text is not read as lines."""
        return _record_lengths(self.training)

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps in one epoch."""
        return steps_per_epoch(self.settings, len(self.training), self.record_lengths)

    def make_backend(self, settings: Settings | None = None) -> TrainingBackend:
        """Create a backend with the initial weights.

        Args:
            settings: Settings of the plan; by default the settings of this setup.
        """
        weights = initial_weights(self.architecture, self.settings.seed) if self.weights is None else self.weights
        return make_backend(self.architecture, weights, settings or self.settings, self.device, self.process_group)


def prepare(request: TrainingRequest) -> TrainingSetup:
    """Run stages 2 to 4, which come before the run folder is created.

    Raises:
        CorpusError: If the training text or the held-out text is too short.
        SettingsError: If the settings do not fit the corpus, the initial model or the number of processes, if the
            device is unavailable, or if the processes made different requests.
    """
    return choose_settings(encode_on_device(build_vocabulary(request)))


def build_vocabulary(request: TrainingRequest) -> TrainingText:
    """Stage 2: split the corpus, and build its vocabulary or extend that of the initial model.

    Raises:
        CorpusError: If the held-out text is too short.
        SettingsError: If the settings do not fit the initial model, or the processes made different requests.
    """
    corpus, recipe, init = request.corpus, request.recipe, request.init
    check_same_request(request.process_group, corpus, recipe, init)
    settings = recipe.settings if init is None else settings_with_model_sizes(init.architecture, recipe)
    split_notices = Notices()  # shown after the notices about the vocabulary
    if request.is_adapted:
        settings = limit_held_out(settings, len(corpus), len(corpus.vocabulary), recipe.fixed, split_notices)
    parts = corpus.parts(settings.val_fraction, settings.test_fraction)
    if settings.val_fraction and len(parts.validation) < 2:
        raise CorpusError(
            f"val_fraction {settings.val_fraction} holds out {len(parts.validation)} of {len(corpus)} characters; at "
            "least 2 are needed. Pass a longer text, or --val-fraction 0 to hold out nothing.",
            code="held_out_text_too_short",
            val_fraction=settings.val_fraction,
            characters=len(corpus),
            held_out=len(parts.validation),
            minimum=2,
        )
    vocabulary = corpus.vocabulary
    if init is not None:
        vocabulary = extend_vocabulary(init.vocabulary, corpus, request.notices)
    request.notices.extend(split_notices)
    return TrainingText(request, settings, parts, vocabulary)


def encode_on_device(text: TrainingText) -> EncodedText:
    """Stage 3: choose device and precision, and encode the text as ids.

    Raises:
        SettingsError: If the device is unavailable, or if the requested batching does not fit the text format: lines
            for continuous text, or the reverse.
    """
    device = _shared_device(text.request.device, text.settings.precision, text.request.process_group)
    return EncodedText(
        request=text.request,
        vocabulary=text.vocabulary,
        device=device,
        training=text.parts.training.ids(text.vocabulary),
        validation=text.parts.validation.ids(text.vocabulary),
        settings=_with_batching(text.settings, text.request),
    )


def choose_settings(text: EncodedText) -> TrainingSetup:
    """Stage 4: adapt the settings to the text and the speed of this machine; compute baselines and initial weights.

    Raises:
        CorpusError: If the training text is shorter than one window.
        SettingsError: If the training text is shorter than one batch, or a batch has fewer rows than there are
            processes.
    """
    request, settings = text.request, text.settings
    if request.is_adapted:
        settings = _adapt_to_speed(text)
    architecture = settings.architecture(len(text.vocabulary))
    init = request.init
    setup = TrainingSetup(
        request=request,
        settings=replace(settings, precision=text.device.precision),
        architecture=architecture,
        device=text.device,
        training=text.training,
        validation=text.validation,
        baselines=_measure_baselines(text),
        vocabulary=text.vocabulary,
        weights=None if init is None else extend_weights(init.weights, architecture, settings.seed),
    )
    process_group = request.process_group
    if settings.batch_size < process_group.size:
        raise SettingsError(
            f"batch_size {settings.batch_size} is smaller than the number of processes, {process_group.size}; each "
            "process needs at least one row of a batch. Start fewer processes, or pass --set "
            f"batch_size={16 * process_group.size}.",
            code="batch_smaller_than_processes",
            batch_size=settings.batch_size,
            processes=process_group.size,
            suggestion=16 * process_group.size,
        )
    _ = setup.steps_per_epoch  # raises an error if the text is too short for these batches
    return setup


def measure(setup: TrainingSetup) -> Measurements:
    """Stage 5: measure the duration of an evaluation and, if the length is given in minutes, of a step."""
    untrained_loss, evaluation_seconds = evaluate_untrained(setup)
    available = setup.settings.minutes * 60
    if not available:
        return Measurements(untrained_loss, evaluation_seconds)
    seconds = measure_step_seconds(setup, available)
    elapsed = setup.process_group.broadcast(time.perf_counter() - setup.request.began)
    return Measurements(untrained_loss, evaluation_seconds, seconds, elapsed)


def complete_plan(setup: TrainingSetup, measured: Measurements) -> Plan:
    """Stage 6: make the plan of a new training, with its length in steps."""
    return plan_training(
        setup.settings,
        Task(len(setup.training), len(setup.vocabulary), record_lengths=setup.record_lengths),
        measured,
        fixed=setup.recipe.fixed,
        may_cap_steps=setup.recipe.name in PLANNED,
        ngram_loss=setup.baselines.ngrams if setup.weights is None else None,
        unigram_loss=setup.baselines.unigram,
        notices=setup.request.notices,
    )


def evaluate_untrained(setup: TrainingSetup) -> tuple[float | None, float]:
    """Measure the held-out loss before the first step, and its duration; None and 0 if nothing is held out."""
    if len(setup.validation) == 0:
        return None, 0.0
    backend = setup.make_backend()
    began = time.perf_counter()
    loss = backend.evaluate(setup.validation)
    return loss, setup.process_group.broadcast(time.perf_counter() - began)


def measure_step_seconds(setup: TrainingSetup, available: float = math.inf) -> float:
    """Measure the mean seconds of a step, in a small share of the available seconds."""
    return step_seconds(setup.make_backend(), setup.training, setup.settings, available, setup.process_group)


def model_facts(setup: TrainingSetup, plan: Plan, step: int, history: History) -> dict[str, Any]:
    """Return the provenance that a model file stores. It contains no times and no paths.

    Args:
        setup: Setup of the training.
        plan: Plan of the training.
        step: Number of steps so far.
        history: History so far.
    """
    last = history.evaluation if history.evaluation and history.evaluation.step == step else None
    return {
        "corpus": setup.corpus.name,
        "corpus_sha256": setup.corpus.sha256,
        "corpus_characters": len(setup.corpus),
        "recipe": setup.recipe.name,
        "settings": plan.settings.to_dict(),
        "step": step,
        "epoch": step / plan.steps_per_epoch,
        "train_loss": last.train_loss if last else None,
        "val_loss": last.val_loss if last else None,
        "best_val_loss": history.best.val_loss if history.best else None,
        "charloom_version": __version__,
    }


def _record_lengths(ids: Ids | RecordIds) -> NDArray[np.int64] | None:
    return ids.lengths if isinstance(ids, RecordIds) else None


def _shared_device(name: str, precision: str, process_group: ProcessGroup) -> Device:
    """Choose the device of this process, with the precision of the first process."""
    device = choose_device(name, process_group.broadcast(choose_device(name, precision).precision))
    if process_group.size == 1:
        return device
    return replace(device, description=f"{process_group.size} processes, the first on: {device.description}")


def _with_batching(settings: Settings, request: TrainingRequest) -> Settings:
    """Set ``batching`` to "lines" if and only if the corpus is read as lines.

    Raises:
        SettingsError: If the user chose a batching that does not fit the corpus.
    """
    corpus, recipe = request.corpus, request.recipe
    if corpus.format.mark is None:
        if settings.batching == "lines":
            raise SettingsError(
                "batching=lines trains on every line or record as a separate text. Pass --lines, --records or "
                "--column to read the corpus that way.",
                code="lines_option_missing",
            )
        return settings
    if settings.batching != "lines" and "batching" in recipe.fixed:
        raise SettingsError(
            f"Lines and records require batching=lines, got batching={settings.batching}. Remove one of the two.",
            code="batching_conflicts_with_lines",
            batching=settings.batching,
        )
    lines, empty = corpus.records
    kind = "lines" if corpus.format.lines else "records"
    skipped = f" Empty {kind} skipped: {empty:,}." if empty else ""
    request.notices.add(
        f"Training on {len(lines.starts):,} {kind}, each a separate text.{skipped}",
        code="lines_are_texts",
        kind=kind,
        lines=len(lines.starts),
        empty=empty,
    )
    if len(lines.starts) <= _FEW_LINES and len(corpus) >= _LONG_TEXT:
        advice = "omit --lines, or pass --records with the line that separates the texts"
        request.notices.add(
            f"The text has only {len(lines.starts)} {kind} with {len(corpus):,} characters, and the model learns "
            f"nothing across them. To train on a continuous text, {advice if kind == 'lines' else 'omit --records'}.",
            code="few_lines",
            kind=kind,
            lines=len(lines.starts),
            characters=len(corpus),
        )
    return settings.with_values({"batching": "lines"})


def _adapt_to_speed(text: EncodedText) -> Settings:
    """Adapt the settings to the text and the machine. The speed is measured only if the length is given in minutes.

    A step of a small network takes a GPU about as long as one of a medium network, so the speed depends on the size of
    the network. On a GPU the speed is therefore measured again with the chosen size.
    """
    request, settings, vocabulary_size = text.request, text.settings, len(text.vocabulary)
    task = Task(len(text.training), vocabulary_size, record_lengths=_record_lengths(text.training))
    if task.record_lengths is None:
        check_window(settings, task.characters)
    if settings.steps or settings.epochs:
        return adapt_settings(settings, task, request.fixed, request.notices)
    available = settings.minutes * 60 if "minutes" in request.fixed else math.inf
    measured = calibration_settings(settings, task)
    for _ in range(1 if text.device.name == "cpu" else _MAX_CALIBRATIONS):
        speed = machine_speed(
            flatten_ids(text.training), vocabulary_size, measured, text.device, available, request.process_group
        )
        notices = Notices()  # only the notices after the last measurement are kept
        adapted = adapt_settings(settings, replace(task, speed=speed), request.fixed, notices)
        if adapted.architecture(vocabulary_size) == measured.architecture(vocabulary_size):
            break
        measured = adapted
    request.notices.extend(notices)
    return adapted


def _measure_baselines(text: EncodedText) -> Baselines:
    """Compute the baseline losses on the held-out text, or on the training text if nothing is held out."""
    training, validation, vocabulary_size = (
        flatten_ids(text.training),
        flatten_ids(text.validation),
        len(text.vocabulary),
    )
    if len(validation) == 0:
        return baselines(training, training, vocabulary_size)
    return replace(
        baselines(training, validation, vocabulary_size), ngrams=ngram_loss(training, validation, vocabulary_size)
    )
