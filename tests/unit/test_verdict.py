import math

import numpy as np
import pytest

from charloom.data.baselines import Baselines, baselines
from charloom.report.verdict import verdict
from charloom.training.events import EvaluationRecord

BASELINES = Baselines(uniform=4.17, unigram=3.35)


def evaluation(step, train_loss, val_loss):
    return EvaluationRecord(step, step / 100, train_loss, val_loss, None, None, False, None, 0.0, 0.0, None)


@pytest.mark.parametrize(("losses", "code", "data"), [
    ([(None, 4.17), (2.0, 2.1), (1.7, 1.75)], "under_trained", {"gap": pytest.approx(0.05)}),
    ([(None, 4.17), (1.6, 1.7), (1.3, 1.48)], "well_trained", {"gap": pytest.approx(0.18), "still_falling": True}),
    ([(None, 4.17), (1.3, 1.48), (1.2, 1.49)], "well_trained", {"gap": pytest.approx(0.29), "still_falling": False}),
    ([(None, 4.17), (1.5, 1.6), (1.0, 1.9)], "overfitting", {"step": 1, "best_loss": 1.6, "last_loss": 1.9}),
    ([(None, 4.17), (1.6, 1.7), (2.5, 2.6)], "learning_rate_too_high", {"step": 1}),
    ([(None, 4.17), (900.0, 900.0)], "learned_nothing", {}),
    ([(None, 4.17), (3.5, 3.5)], "learned_nothing", {}),
    ([(None, 4.17), (0.01, 0.001)], "nothing_left_to_learn", {}),
    ([(2.0, None), (1.5, None)], "no_held_out_text", {}),
    ([(None, 4.17)], "no_evaluation", {}),
])  # fmt: skip
def test_advice_follows_from_the_course_of_the_losses(losses, code, data):
    advice = verdict([evaluation(i, *pair) for i, pair in enumerate(losses)], BASELINES)[-1]
    assert (advice.code, advice.data) == (code, data)


def test_the_loss_is_compared_with_the_baselines():
    summary = verdict([evaluation(1, 1.3, 1.4697)], BASELINES)[0]
    assert summary.code == "loss_summary"
    assert summary.data == {"kind": "held-out", "loss": 1.4697, "unigram": 3.35, "uniform": 4.17}
    assert "1.4697 nats (2.120 bits)" in summary and "4.1700" in summary and "3.3500" in summary


def test_baselines_of_a_text_that_can_be_counted_by_hand():
    result = baselines(np.array([0, 0, 0, 1], np.uint8), np.array([0, 1], np.uint8), 3)
    assert result.uniform == pytest.approx(math.log(3))
    # counts 3, 1, 0 plus one each (add-one smoothing): probabilities 4/7, 2/7, 1/7
    assert result.unigram == pytest.approx(-(math.log(4 / 7) + math.log(2 / 7)) / 2)


def test_the_unigram_loss_of_tiny_shakespeare_is_the_published_one(shakespeare):
    ids = shakespeare.vocabulary.encode(shakespeare.text)
    assert baselines(ids, ids, 65).unigram == pytest.approx(3.3128, abs=1e-4)
