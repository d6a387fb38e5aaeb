import math

import numpy as np
import pytest

from charloom.data.baselines import Baselines, baselines
from charloom.report.verdict import Course, loss_summary, verdict
from charloom.training.events import EvaluationRecord

BASELINES = Baselines(uniform=4.17, unigram=3.35)


def evaluation(step, train_loss, val_loss):
    return EvaluationRecord(step, step / 100, train_loss, val_loss, None, None, False, None, 0.0, 0.0, None)


def course(*losses, steps=700, chars=100_000, interrupted=False):
    evaluations = [evaluation(100 * i, *pair) for i, pair in enumerate(losses)]
    return Course("runs/my text", evaluations, BASELINES, chars, steps, 700, interrupted)


UNTRAINED = (None, 4.17)


@pytest.mark.parametrize(("run", "code", "data"), [
    (course(UNTRAINED, interrupted=True), "no_evaluation", {}),
    (course(UNTRAINED, (2.0, 2.1), interrupted=True, steps=150), "stopped",
     {"steps": 150, "planned_steps": 700, "kept_step": 100}),
    (course(UNTRAINED, (0.1, 3.1), chars=34), "text_too_short", {"characters": 34}),
    (course((2.0, None), (1.5, None)), "no_held_out_text", {}),
    (course(UNTRAINED, (900.0, 900.0)), "learned_nothing", {}),
    (course(UNTRAINED, (3.5, 3.5)), "learned_nothing", {}),
    (course(UNTRAINED, (3.5, 3.5), steps=100), "too_few_steps", {"steps": 100}),
    (course(UNTRAINED, (0.01, 0.001)), "nothing_left_to_learn", {}),
    (course(UNTRAINED, (1.6, 1.7), (2.5, 2.6)), "learning_rate_too_high", {"step": 100}),
    (course(UNTRAINED, (1.5, 1.6), (1.0, 1.9)), "overfitting", {"step": 100, "best_loss": 1.6, "last_loss": 1.9}),
    (course(UNTRAINED, (2.6, 2.7), steps=150), "too_few_steps", {"steps": 150}),
    (course(UNTRAINED, (2.0, 2.1), (1.7, 1.75)), "under_trained", {"gap": pytest.approx(0.05)}),
    (course(UNTRAINED, (1.6, 1.8), (1.1, 1.72)), "text_limited", {"gap": pytest.approx(0.62), "still_falling": True}),
    (course(UNTRAINED, (1.6, 1.7), (1.3, 1.48)), "well_trained", {"gap": pytest.approx(0.18), "still_falling": True}),
    (course(UNTRAINED, (1.3, 1.48), (1.2, 1.49)), "well_trained", {"gap": pytest.approx(0.18), "still_falling": False}),
])  # fmt: skip
def test_the_verdict_follows_from_the_course_of_the_losses(run, code, data):
    found = verdict(run)
    assert (found.code, found.data) == (code, data)


@pytest.mark.parametrize("run", [
    course(UNTRAINED, (2.0, 2.1), interrupted=True), course(UNTRAINED, (2.6, 2.7), steps=150),
    course(UNTRAINED, (2.0, 2.1), (1.7, 1.75)), course(UNTRAINED, interrupted=True),
])  # fmt: skip
def test_advice_to_continue_is_a_command_that_works(run):
    assert "charloom train --resume 'runs/my text'" in verdict(run)


def test_a_kept_model_from_before_an_extension_is_the_one_that_is_judged():
    """The extension ended above the kept model, but not enough to call it overfitting."""
    found = verdict(course((1.4, 1.578), (1.35, 1.585)))
    assert found.code == "well_trained" and not found.data["still_falling"]


def test_the_loss_is_compared_with_the_baselines():
    summary = loss_summary(course((1.3, 1.4697)))
    assert summary.code == "loss_summary"
    assert summary.data == {"kind": "held-out", "loss": 1.4697, "unigram": 3.35, "uniform": 4.17}
    assert "1.4697 nats (2.120 bits)" in summary and "4.1700" in summary and "3.3500" in summary
    assert loss_summary(course(UNTRAINED)) is None


def test_baselines_of_a_text_that_can_be_counted_by_hand():
    result = baselines(np.array([0, 0, 0, 1], np.uint8), np.array([0, 1], np.uint8), 3)
    assert result.uniform == pytest.approx(math.log(3))
    # counts 3, 1, 0 plus one each (add-one smoothing): probabilities 4/7, 2/7, 1/7
    assert result.unigram == pytest.approx(-(math.log(4 / 7) + math.log(2 / 7)) / 2)


def test_the_unigram_loss_of_tiny_shakespeare_is_the_published_one(shakespeare):
    ids = shakespeare.vocabulary.encode(shakespeare.text)
    assert baselines(ids, ids, 65).unigram == pytest.approx(3.3128, abs=1e-4)
