import pytest

from charloom.data.baselines import Baselines, baselines
from charloom.report.verdict import verdict
from charloom.training.events import EvaluationRecord

GUESSING = Baselines(uniform=4.17, unigram=3.35)


def evaluation(step, train_loss, val_loss):
    return EvaluationRecord(step, step / 100, train_loss, val_loss, None, None, False, None, 0.0, 0.0, None)


@pytest.mark.parametrize(("losses", "expected"), [
    ([(None, 4.17), (2.0, 2.1), (1.7, 1.75)], "under-trained"),
    ([(None, 4.17), (1.6, 1.7), (1.3, 1.48)], "well trained: new text costs it 0.18 nats more"),
    ([(None, 4.17), (1.6, 1.7), (1.3, 1.48)], "was still falling at the end"),
    ([(None, 4.17), (1.3, 1.48), (1.2, 1.49)], "had stopped falling at step 1"),
    ([(None, 4.17), (1.5, 1.6), (1.0, 1.9)], "over-fits from step 1 on: the held-out loss rose from 1.6000 to 1.9000"),
    ([(None, 4.17), (1.6, 1.7), (2.5, 2.6)], "got worse from step 1 on, on the text it learned from as well"),
    ([(None, 4.17), (900.0, 900.0)], "learned nothing"),
    ([(None, 4.17), (3.5, 3.5)], "learned nothing that the frequencies do not tell"),
    ([(None, 4.17), (0.01, 0.001)], "next to nothing left to learn"),
    ([(2.0, None), (1.5, None)], "Nothing was held out"),
    ([(None, 4.17)], "stopped before its first evaluation"),
])  # fmt: skip
def test_a_training_is_judged_in_words(losses, expected):
    said = " ".join(verdict([evaluation(i, *pair) for i, pair in enumerate(losses)], GUESSING))
    assert expected in said


def test_guessing_is_compared():
    said = verdict([evaluation(1, 1.3, 1.4697)], GUESSING)[0]
    assert "1.4697 nats (2.120 bits)" in said and "4.1700" in said and "3.3500" in said


def test_baselines_of_a_text_that_can_be_counted_by_hand():
    import math

    import numpy as np

    found = baselines(np.array([0, 0, 0, 1], np.uint8), np.array([0, 1], np.uint8), 3)
    assert found.uniform == pytest.approx(math.log(3))
    # counts 3, 1, 0 and one more each: 4/7, 2/7, 1/7
    assert found.unigram == pytest.approx(-(math.log(4 / 7) + math.log(2 / 7)) / 2)


def test_the_unigram_loss_of_tiny_shakespeare_is_the_published_one(shakespeare):
    ids = shakespeare.vocabulary.encode(shakespeare.text)
    assert baselines(ids, ids, 65).unigram == pytest.approx(3.3128, abs=1e-4)
