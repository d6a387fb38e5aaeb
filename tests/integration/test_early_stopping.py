"""Early stopping and the divergence guard."""

import numpy as np
import pytest

from charloom.data.corpus import Corpus
from charloom.errors import RunError
from charloom.planning.recipes import RECIPES, Recipe
from charloom.training.early_stopping import reason_to_end, reason_to_slow_down
from charloom.training.events import EvaluationRecord, EventRecord, FinishRecord, StepRecord
from charloom.training.history import History
from charloom.training.resume import open_run, resume_training
from charloom.training.run import run_training
from support.errors import raises_code

SMALL = {"hidden_size": 48, "embedding_size": 8, "seq_length": 16, "batch_size": 8, "sample_length": 0}


def history_of(*losses):
    """Return a history with these pairs of training loss and held-out loss."""
    history, best = History(10), float("inf")
    for step, (train_loss, val_loss) in enumerate(losses):
        is_best = train_loss is not None and val_loss is not None and val_loss < best
        best = val_loss if is_best else best
        history.add_evaluation(
            EvaluationRecord(step, step, train_loss, val_loss, None, None, is_best, None, 0.0, 0.0, None)
        )
    return history


RISING = [(None, 4.2), (1.5, 1.6), (1.4, 1.61), (1.3, 1.65), (1.2, 1.7)]


@pytest.mark.parametrize(("losses", "patience", "ends"), [
    (RISING, 3, True),
    (RISING, 4, False),  # only three evaluations since the best one
    (RISING, 0, False),  # early stopping is off
    ([(None, 4.2), (1.5, 1.6), (1.4, 1.61), (1.3, 1.61), (1.2, 1.61)], 3, False),  # within the noise
    ([(None, 4.2), (1.5, 1.6), (1.6, 1.7), (1.7, 1.8), (1.8, 1.9)], 3, False),  # the training loss rises as well
    ([(None, 4.2), (1.5, None), (1.4, None), (1.3, None), (1.2, None)], 3, False),  # nothing is held out
    ([(None, 4.2), (0.3, 0.1), (0.003, 0.002)], 3, True),  # nothing left to learn
    ([(None, 4.2)], 1, False),
])  # fmt: skip
def test_reason_to_end(losses, patience, ends):
    assert bool(reason_to_end(history_of(*losses), patience)) == ends


def test_overfitting_notice_has_the_step_and_the_losses():
    notice = reason_to_end(history_of(*RISING), 3)
    assert notice.code == "overfitting"
    assert notice.data == {"step": 4, "val_loss": 1.7, "best_step": 1, "best_val_loss": 1.6}
    assert all(part in notice for part in ("1.6000", "1.7000"))
    done = reason_to_end(history_of((None, 4.2), (0.3, 0.1), (0.003, 0.002)), 3)
    assert done.code == "nothing_left_to_learn"


@pytest.mark.parametrize(("losses", "slower"), [
    ([(None, 4.2), (1.5, 1.6), (1.9, 2.0)], True),
    ([(None, 4.2), (1.5, 1.6), (1.7, 1.8)], False),
    ([(None, 4.2), (9.0, 3.0)], False),
    ([(None, 4.2)], False),
])  # fmt: skip
def test_reason_to_slow_down(losses, slower):
    assert bool(reason_to_slow_down(history_of(*losses))) == slower


def test_overfitting_run_stops_early_and_can_be_resumed(tmp_path):
    drawn = np.random.default_rng(0).integers(97, 107, 1500)  # random text can only be memorized
    corpus = Corpus("".join(map(chr, drawn)), "noise")
    settings = RECIPES["auto"].settings.with_values({**SMALL, "steps": 3000, "eval_every": 50, "patience": 3})
    records = list(run_training(corpus, Recipe("mine", "", settings), str(tmp_path / "run")))
    (ended,) = [r for r in records if isinstance(r, EventRecord)]
    finish = records[-1]
    assert isinstance(finish, FinishRecord) and not finish.interrupted
    assert (ended.event, ended.message.code) == ("ended", "overfitting")
    assert finish.steps < 3000 and finish.best_step <= finish.steps - 3 * 50
    saved = open_run(str(tmp_path / "run"))
    with raises_code("run_finished", RunError, steps=finish.steps, early_stopped=True):
        list(resume_training(saved, corpus))
    more = list(resume_training(saved, corpus, {"steps": 20}))
    assert sum(isinstance(r, StepRecord) for r in more) == 20


def test_high_learning_rate_is_halved_with_an_event(text, tmp_path):
    settings = RECIPES["auto"].settings.with_values(
        {**SMALL, "optimizer": "adamw", "learning_rate": 0.6, "schedule": "constant", "steps": 200, "eval_every": 10}
    )
    records = list(run_training(Corpus(text, "weaving"), Recipe("mine", "", settings), str(tmp_path / "run")))
    halved = [r for r in records if isinstance(r, EventRecord) and r.event == "halved"]
    assert halved and halved[0].message.code == "learning_rate_halved"
    rates = [r.learning_rate for r in records if isinstance(r, StepRecord) and r.step > halved[0].step]
    assert rates[0] == pytest.approx(0.3)
    assert sum(r.step < 200 for r in halved) <= 6  # each only after a rise since the previous one
