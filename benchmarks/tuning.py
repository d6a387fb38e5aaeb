"""Search methods of `charloom tune` compared: TPE, or changes to the best trial so far, in few trials.

    python benchmarks/tuning.py TEXT [--trials 12] [--seeds 3] [--seconds 4]

Every trial trains on the same part of the text with the number of operations that the plan needs in `--seconds` at a
nominal speed. A larger model therefore makes fewer steps, and the load of the machine changes nothing. Trials are not
pruned. Prints the lowest held-out loss after each trial, per method and seed, then one JSON line.
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

NOMINAL = 5e10  # operations per second


class Trials:
    """Trains at points of the search space; each point is trained once and cached."""

    def __init__(self, corpus, seconds):
        self.corpus = corpus
        setup = prepare(TrainingRequest(corpus, RECIPES["auto"].with_values({"minutes": seconds / 60}), "cpu"))
        self.plan, self.alphabet = setup.settings, len(setup.vocabulary)
        self.axes = axes_around(self.plan, len(setup.training))
        self.operations = seconds * NOMINAL
        self.losses, self.folders = {}, count()

    def loss(self, point):
        """Return the lowest held-out loss of the trial at a point."""
        key = tuple(sorted(point.items()))
        if key not in self.losses:
            self.losses[key] = self._train(settings_at(self.plan, self.axes, point))
        return self.losses[key]

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


def search_tpe(trials, count, seed, first):
    """Search with TPE; the first `first` trials are random. Returns the loss of each trial."""
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=first, multivariate=True)
    study = optuna.create_study(sampler=sampler)
    study.enqueue_trial(start_point(trials.axes))
    for _ in range(count):
        trial = study.ask(distributions(trials.axes))
        study.tell(trial, trials.loss(trial.params))
    return [trial.value for trial in study.trials]


def search_changes(trials, count, seed, first):
    """Search by changing the best trial; TPE after `first` trials. Returns the loss of each trial."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=0, multivariate=True))
    point = start_point(trials.axes)
    tried = []
    while len(tried) < count:
        if tried and len(tried) < first:
            best = min(tried, key=lambda trial: trial[0])[1]
            point = neighbor(best, trials.axes, rng, lambda candidate: all(candidate != point for _, point in tried))
        if len(tried) < first:
            study.enqueue_trial(point)
        trial = study.ask(distributions(trials.axes))
        tried.append((trials.loss(trial.params), trial.params))
        study.tell(trial, tried[-1][0])
    return [loss for loss, _ in tried]


METHODS = {
    "changes to the best trial": (search_changes, 10**6),
    "TPE after 4 random trials": (search_tpe, 4),
    "TPE after 5 changes": (search_changes, 6),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text")
    parser.add_argument("--characters", type=int, default=200_000, help="use only the first N characters of the text")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    text = charloom.Corpus.read(options.text).head(options.characters)
    trials, results = Trials(charloom.Corpus(text), options.seconds), {}
    for seed in range(options.seeds):
        for method in options.methods:
            search, first = METHODS[method]
            losses = search(trials, options.trials, seed, first)
            results.setdefault(method, []).append(losses)
            lowest = np.minimum.accumulate(losses)
            print(f"{method:25} {seed}  {' '.join(f'{loss:.4f}' for loss in lowest)}", flush=True)
    facts = {"trials": options.trials, "seconds": options.seconds, "processor": processor()}
    print(json.dumps({"benchmark": "tuning", **facts, "plan": trials.plan.to_dict(), "losses": results}))


if __name__ == "__main__":
    main()
