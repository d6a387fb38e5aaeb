"""Everything between a corpus and the first step: split, sizes, device, speed, plan."""

import math
import statistics
import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from charloom.errors import CorpusError
from charloom.model.architecture import Architecture
from charloom.model.initializers import Weights, initial_weights
from charloom.model.model_file import SavedModel
from charloom.plan.planner import Plan, evaluations_in_time, fit_to_corpus, make_plan, steps_in_time, steps_per_epoch
from charloom.plan.recipes import Recipe
from charloom.plan.settings import Settings
from charloom.text.baselines import Baselines, baselines
from charloom.text.corpus import Corpus
from charloom.text.vocabulary import Vocabulary
from charloom.training.device import Device, choose_device
from charloom.training.evaluation import evaluate
from charloom.training.growing import grown_vocabulary, grown_weights, sizes_of
from charloom.training.loop import train_steps
from charloom.training.network import CharNetwork
from charloom.training.streams import make_batches

_MEASURE_SECONDS = 4.0  # at most, and at most this share of the time there is
_MEASURE_SHARE = 0.04
_WARM_STEPS = 3  # the first steps allocate memory and are slower


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
        fit: Whether the recipe ``auto`` may be changed to suit the corpus.

    Raises:
        CorpusError: If a part of the corpus is too short.
        SettingsError: If the settings do not suit the corpus or the model, or there is no such device.
    """
    settings = recipe.settings if init is None else sizes_of(init.architecture, recipe)
    split = corpus.split(settings.val_fraction, settings.test_fraction)
    if settings.val_fraction and len(split.validation) < 2:
        raise CorpusError(
            f"Of {len(corpus.text)} characters, val_fraction {settings.val_fraction} holds out "
            f"{len(split.validation)}: too few to judge by. Give a longer text, or --val-fraction 0."
        )
    vocabulary, notices = (corpus.vocabulary, ()) if init is None else grown_vocabulary(init.vocabulary, corpus)
    if recipe.name == "auto" and fit:
        settings, fitted = fit_to_corpus(settings, len(split.training), len(vocabulary), recipe.fixed)
        notices = (*notices, *fitted)
    steps_per_epoch(settings, len(split.training))  # refuses what cannot be read in these batches
    device = choose_device(device_name, settings.precision)
    architecture = settings.architecture(len(vocabulary))
    training, validation = vocabulary.encode(split.training), vocabulary.encode(split.validation)
    return Preparation(
        corpus=corpus,
        recipe=recipe,
        settings=replace(settings, precision=device.precision),
        architecture=architecture,
        device=device,
        training=training,
        validation=validation,
        baselines=baselines(training, validation if len(validation) else training, len(vocabulary)),
        notices=notices,
        vocabulary=vocabulary,
        weights=None if init is None else grown_weights(init.weights, architecture, settings.seed),
    )


def resolve_plan(ready: Preparation, began: float, evaluation_seconds: float) -> Plan:
    """Return the plan of a training: minutes become steps here, once, by measuring this machine.

    Args:
        ready: The preparation.
        began: When the time asked for began, by ``time.perf_counter``.
        evaluation_seconds: What one evaluation takes.
    """
    settings, characters = ready.settings, len(ready.training)
    if settings.steps:
        return make_plan(settings, characters, settings.steps, ready.notices, ready.recipe.fixed)
    if settings.epochs:
        steps = settings.epochs * steps_per_epoch(settings, characters)
        return make_plan(settings, characters, steps, ready.notices, ready.recipe.fixed)
    step_seconds = measure_step_seconds(ready, settings.minutes * 60)
    left = settings.minutes * 60 - (time.perf_counter() - began)
    steps = steps_in_time(left, step_seconds, evaluation_seconds, settings.eval_every)
    evaluations = evaluations_in_time(left, evaluation_seconds)
    return make_plan(settings, characters, steps, ready.notices, ready.recipe.fixed, evaluations)


def measure_step_seconds(ready: Preparation, available: float = math.inf) -> float:
    """Return the median time of a step, from steps made with a network that is thrown away.

    Args:
        ready: What is to be trained.
        available: The seconds there are in all, of which it takes a small share.
    """
    settings = ready.settings
    limit = min(_MEASURE_SECONDS, _MEASURE_SHARE * available)
    trial = ready.make_network()
    batches = make_batches(ready.training, settings)
    seconds: list[float] = []
    for record in train_steps(trial, batches, settings, 10**6, ready.device):
        seconds.append(record.seconds)
        if len(seconds) > _WARM_STEPS and sum(seconds) >= limit:
            break
    return statistics.median(seconds[_WARM_STEPS:])


def first_evaluation(ready: Preparation, network: CharNetwork) -> tuple[float | None, float]:
    """Return the held-out loss before the first step (None where nothing is held out), and its seconds."""
    if len(ready.validation) == 0:
        return None, 0.0
    began = time.perf_counter()
    loss = evaluate(network, ready.validation, ready.device.name)
    return loss, time.perf_counter() - began
