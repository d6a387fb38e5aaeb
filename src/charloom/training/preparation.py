"""Everything between a corpus and the first step: split, sizes, device, speed, plan."""

import math
import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from charloom.errors import CorpusError
from charloom.model.architecture import Architecture
from charloom.model.initializers import Weights, initial_weights
from charloom.model.model_file import SavedModel
from charloom.plan.auto import Task, enough, held_out, suit
from charloom.plan.expectation import expected_bits
from charloom.plan.planner import Plan, check_length, evaluations_in_time, make_plan, steps_in_time, steps_per_epoch
from charloom.plan.recipes import PLANNED, Recipe
from charloom.plan.settings import Settings
from charloom.text.baselines import Baselines, baselines
from charloom.text.corpus import Corpus
from charloom.text.ngrams import ngram_loss
from charloom.text.vocabulary import Vocabulary
from charloom.training.device import Device, choose_device
from charloom.training.evaluation import evaluate
from charloom.training.growing import SIZES, grown_vocabulary, grown_weights, sizes_of
from charloom.training.network import CharNetwork
from charloom.training.speed import machine_speed, step_seconds


@dataclass(frozen=True)
class Preparation:
    """A training that is ready to be planned.

    Attributes:
        corpus: What it learns from.
        recipe: As asked for.
        settings: The recipe's, fitted to the corpus; the device's precision is in them.
        architecture: What is trained.
        device: Where.
        training: Ids of the training text.
        validation: Ids of the held-out text; empty where nothing is held out.
        baselines: What guessing costs.
        notices: What was changed to fit the corpus.
        vocabulary: The corpus', or that of the model to begin with, and what the corpus adds to it.
        weights: To begin with; None: drawn.
    """

    corpus: Corpus
    recipe: Recipe
    settings: Settings
    architecture: Architecture
    device: Device
    training: NDArray[np.unsignedinteger]
    validation: NDArray[np.unsignedinteger]
    baselines: Baselines
    notices: tuple[str, ...]
    vocabulary: Vocabulary
    weights: Weights | None = None

    def make_network(self) -> CharNetwork:
        """Return the network as it is before the first step."""
        s = self.settings
        weights = initial_weights(self.architecture, s.seed) if self.weights is None else self.weights
        dropout = (s.dropout_input, s.dropout_hidden, s.dropout_output)
        return CharNetwork(self.architecture, weights, dropout, s.dropconnect).to(self.device.name)


def prepare(
    corpus: Corpus, recipe: Recipe, device_name: str = "auto", init: SavedModel | None = None, fit: bool = True
) -> Preparation:
    """Split and encode a corpus, and settle everything that needs no measuring.

    Args:
        corpus: What to learn from.
        recipe: All choices.
        device_name: See ``charloom.training.device.DEVICES``.
        init: The model to begin with; None: a new one.
        fit: Whether a recipe that is planned may be changed to suit the corpus.

    Raises:
        CorpusError: If a part of the corpus is too short.
        SettingsError: If the settings do not suit the corpus or the model, or there is no such device.
    """
    settings = recipe.settings if init is None else sizes_of(init.architecture, recipe)
    planned = recipe.name in PLANNED and fit
    choices: tuple[str, ...] = ()
    if planned:
        settings, choices = held_out(settings, len(corpus.text), len(corpus.vocabulary), recipe.fixed)
    split = corpus.split(settings.val_fraction, settings.test_fraction)
    if settings.val_fraction and len(split.validation) < 2:
        raise CorpusError(
            f"Of {len(corpus.text)} characters, val_fraction {settings.val_fraction} holds out "
            f"{len(split.validation)}: too few to judge by. Give a longer text, or --val-fraction 0."
        )
    vocabulary, notices = (corpus.vocabulary, ()) if init is None else grown_vocabulary(init.vocabulary, corpus)
    device = choose_device(device_name, settings.precision)
    training, validation = vocabulary.encode(split.training), vocabulary.encode(split.validation)
    if planned:
        fixed = recipe.fixed if init is None else recipe.fixed.union(SIZES)
        settings, more = _suited(settings, fixed, training, len(vocabulary), device)
        notices = (*notices, *choices, *more)
    steps_per_epoch(settings, len(training))  # refuses what cannot be read in these batches
    architecture = settings.architecture(len(vocabulary))
    return Preparation(
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
    )


def _baselines(
    training: NDArray[np.unsignedinteger], validation: NDArray[np.unsignedinteger], alphabet: int
) -> Baselines:
    if len(validation) == 0:
        return baselines(training, training, alphabet)
    return replace(baselines(training, validation, alphabet), ngrams=ngram_loss(training, validation, alphabet))


def _suited(
    settings: Settings, fixed: frozenset[str], training: NDArray[np.unsignedinteger], alphabet: int, device: Device
) -> tuple[Settings, tuple[str, ...]]:
    """Return what charloom plans; the machine is measured only where the length is a time."""
    check_length(settings, len(training))
    task = Task(len(training), alphabet)
    if not (settings.steps or settings.epochs):
        available = settings.minutes * 60 if "minutes" in fixed else math.inf
        task = replace(task, speed=machine_speed(training, alphabet, settings, device, available))
    return suit(settings, task, fixed)


def resolve_plan(ready: Preparation, began: float, evaluation_seconds: float) -> Plan:
    """Return the plan of a training: minutes become steps here, once, by measuring this machine.

    Args:
        ready: The preparation.
        began: When the time asked for began, by ``time.perf_counter``.
        evaluation_seconds: What one evaluation takes.
    """
    settings, characters, notices = ready.settings, len(ready.training), ready.notices
    epoch = steps_per_epoch(settings, characters)
    steps = settings.steps or settings.epochs * epoch
    evaluations, a_step = None, 0.0
    if settings.minutes:
        a_step = measure_step_seconds(ready, settings.minutes * 60)
        left = settings.minutes * 60 - (time.perf_counter() - began)
        evaluations = evaluations_in_time(left, evaluation_seconds)
        steps = steps_in_time(left, a_step, evaluation_seconds, settings.eval_every)
        if ready.recipe.name in PLANNED:
            steps, why = enough(steps, epoch, characters)
            notices = (*notices, *why)
    plan = make_plan(settings, characters, steps, notices, ready.recipe.fixed, evaluations)
    seconds = time.perf_counter() - began + steps * (a_step + evaluation_seconds / plan.settings.eval_every)
    read = steps * settings.batch_size * settings.seq_length
    ngrams = ready.baselines.ngrams
    expected = None if ngrams is None else expected_bits(ngrams, read)
    return replace(plan, seconds=seconds if a_step else None, expected_bits=expected)


def measure_step_seconds(ready: Preparation, available: float = math.inf) -> float:
    """Return the mean time of a step of this training, of whose seconds it takes a small share."""
    return step_seconds(ready.make_network(), ready.training, ready.settings, ready.device, available)


def first_evaluation(ready: Preparation, network: CharNetwork) -> tuple[float | None, float]:
    """Return the held-out loss before the first step (None where nothing is held out), and its seconds."""
    if len(ready.validation) == 0:
        return None, 0.0
    began = time.perf_counter()
    loss = evaluate(network, ready.validation, ready.device.name)
    return loss, time.perf_counter() - began
