"""What is said of a search for better settings when it ends."""

from dataclasses import replace

import pytest

from charloom.tuning.report import ticks, tuning_verdict
from charloom.tuning.trials import Outcome, Trial, outcome
from support.tuning_stubs import make_task


def trial(number, loss, checks=None, state="complete"):
    return Trial(number, state, {"learning_rate": number}, ((1.0, loss or 9.0),), loss, checks=checks)


@pytest.mark.parametrize(("best", "plan_check", "best_check", "wins", "says"), [
    (1.0, 2.0, 1.5, True, "it is better by 0.5000"),
    (1.0, 1.5, 2.0, False, "Keep auto"),
    (1.0, 1.5, 1.5, False, "Keep auto"),
    (1.0, 1.5, None, False, "no finite loss"),
    (3.0, None, None, False, "It could not beat auto's plan: that reaches 2.0000 nats, and of 1 others none less"),
])  # fmt: skip
def test_the_verdict(best, plan_check, best_check, wins, says):
    state = "complete" if best_check else "pruned"
    checks = [trial(0, plan_check, 0), trial(1, best_check, 1, state)] if plan_check else []
    found = outcome([trial(0, 2.0), trial(1, best)], checks)
    assert (found.winner.number == 1) is wins
    assert says in tuning_verdict(make_task(), found, 2)[0]


@pytest.mark.parametrize(("steps", "is_even"), [(1000, True), (790, False), (810, True), (1260, False)])
def test_the_verdict_warns_of_a_machine_that_was_busy(steps, is_even):
    facts = [replace(trial(0, 2.0), facts={"steps": 1000}), replace(trial(1, 1.0), facts={"steps": 500})]
    checks = [replace(trial(0, 2.0, 0), facts={"steps": steps}), replace(trial(1, 1.0, 1), facts={"steps": 500})]
    said = tuning_verdict(make_task(), outcome(facts, checks), 2)
    assert (len(said) == 1) is is_even and (is_even or f"made {steps:,} steps of trial 0" in said[1])


def test_the_verdict_of_what_is_not_known():
    assert "more --hours" in tuning_verdict(make_task(), Outcome(None, None), 0)[0]
    assert "has not ended" in tuning_verdict(make_task(), Outcome(None, trial(1, 1.0)), 1)[0]
    assert "Nothing but auto's plan" in tuning_verdict(make_task(), outcome([trial(0, 2.0)], []), 1)[0]
    assert "not been checked" in tuning_verdict(make_task(), outcome([trial(0, 2.0), trial(1, 1.0)], []), 2)[0]


def test_ticks_are_round_and_inside():
    assert ticks(1.21, 1.49) == [1.25, 1.3, 1.35, 1.4, 1.45] or ticks(1.21, 1.49) == [1.3, 1.4]
    for low, high in ((0.0001, 0.0002), (3.0, 700.0), (-1.0, 1.0)):
        found = ticks(low, high)
        assert 2 <= len(found) <= 11 and all(low <= tick <= high for tick in found)
