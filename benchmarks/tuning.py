"""Which way of searching finds better settings in a few trials: TPE, or changes of the best trial so far.

    python benchmarks/tuning.py TEXT [--trials 12] [--seeds 3] [--seconds 4]

Every trial is a training on the same part of the text with as many operations as the plan's in so many seconds at a
nominal speed: a larger model makes fewer steps, and the machine's load changes nothing. Nothing is pruned. For each way
and seed the lowest held-out loss after each trial; then one line of JSON.
"""

import argparse
import json
import tempfile
from itertools import count

import numpy as np
import optuna

import charloom
from charloom.planning.cost import step_operations
from charloom.planning.recipes import RECIPES
from charloom.training.events import EvaluationRecord
from charloom.training.pipeline import TrainingRequest, prepare
from charloom.training.run import run_training
from charloom.tuning.search import distributions
from charloom.tuning.search_space import axes_around, neighbor, settings_at, start_point
from machine import processor

NOMINAL = 5e10  # operations a second


class Trials:
    """Trains at a point of the search space, once for each."""

    def __init__(self, corpus, seconds):
        self.corpus = corpus
        setup = prepare(TrainingRequest(corpus, RECIPES["auto"].with_values({"minutes": seconds / 60}), "cpu"))
        self.plan, self.alphabet = setup.settings, len(setup.vocabulary)
        self.axes = axes_around(self.plan, len(setup.training))
        self.operations = seconds * NOMINAL
        self.known, self.folders = {}, count()

    def loss(self, point):
        """Return the lowest held-out loss of a training at a point."""
        key = tuple(sorted(point.items()))
        if key not in self.known:
            self.known[key] = self._train(settings_at(self.plan, self.axes, point))
        return self.known[key]

    def _train(self, settings):
        steps = max(1, round(self.operations / step_operations(settings, self.alphabet)))
        chosen = settings.with_values({"steps": steps, "sample_length": 0, "warmup_steps": min(50, steps // 10)})
        recipe = charloom.Recipe("fixed", "", chosen, frozenset(chosen.to_dict()))
        with tempfile.TemporaryDirectory() as folder:
            run = run_training(self.corpus, recipe, f"{folder}/{next(self.folders)}", "cpu")
            losses = []
            for record in run:
                if isinstance(record, EvaluationRecord):
                    losses.append(record.val_loss)
                    if record.step == steps:
                        break
        return min(losses)


def by_optuna(trials, count, seed, first):
    """Search with TPE, the first trials at random."""
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=first, multivariate=True)
    study = optuna.create_study(sampler=sampler)
    study.enqueue_trial(start_point(trials.axes))
    for _ in range(count):
        trial = study.ask(distributions(trials.axes))
        study.tell(trial, trials.loss(trial.params))
    return [trial.value for trial in study.trials]


def by_changes(trials, count, seed, first):
    """Search by changing the best so far, after some of them with TPE."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=0, multivariate=True))
    point = start_point(trials.axes)
    tried = []
    while len(tried) < count:
        if tried and len(tried) < first:
            best = min(tried, key=lambda one: one[0])[1]
            point = neighbor(best, trials.axes, rng, lambda found: all(found != known for _, known in tried))
        if len(tried) < first:
            study.enqueue_trial(point)
        trial = study.ask(distributions(trials.axes))
        tried.append((trials.loss(trial.params), trial.params))
        study.tell(trial, tried[-1][0])
    return [loss for loss, _ in tried]


WAYS = {
    "changes of the best": (by_changes, 10**6),
    "TPE after 4 at random": (by_optuna, 4),
    "TPE after 5 changes": (by_changes, 6),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text")
    parser.add_argument("--characters", type=int, default=200_000, help="of the text, its beginning")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    text = charloom.Corpus.read(options.text).head(options.characters)
    trials, found = Trials(charloom.Corpus(text), options.seconds), {}
    for seed in range(options.seeds):
        for way in options.ways:
            search, first = WAYS[way]
            losses = search(trials, options.trials, seed, first)
            found.setdefault(way, []).append(losses)
            lowest = np.minimum.accumulate(losses)
            print(f"{way:22} {seed}  {' '.join(f'{loss:.4f}' for loss in lowest)}", flush=True)
    facts = {"trials": options.trials, "seconds": options.seconds, "processor": processor()}
    print(json.dumps({"benchmark": "tuning", **facts, "plan": trials.plan.to_dict(), "losses": found}))


if __name__ == "__main__":
    main()
