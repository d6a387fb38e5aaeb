"""The verdict on a hyperparameter search."""

from dataclasses import replace

import pytest

from charloom.tuning.report import ticks, tuning_verdict
from charloom.tuning.trials import Outcome, Trial, outcome
from support.tuning_stubs import make_task


def trial(number, loss, checks=None, state="complete"):
    return Trial(number, state, {"learning_rate": number}, ((1.0, loss or 9.0),), loss, checks=checks)


@pytest.mark.parametrize(("best", "plan_check", "best_check", "wins", "code"), [
    (1.0, 2.0, 1.5, True, "better_settings_found"),
    (1.0, 1.5, 2.0, False, "improvement_not_confirmed"),
    (1.0, 1.5, 1.5, False, "improvement_not_confirmed"),
    (1.0, 1.5, None, False, "improvement_not_confirmed"),
    (3.0, None, None, False, "no_better_settings"),
])  # fmt: skip
def test_verdict_compares_best_trial_with_plan(best, plan_check, best_check, wins, code):
    state = "complete" if best_check else "pruned"
    checks = [trial(0, plan_check, 0), trial(1, best_check, 1, state)] if plan_check else []
    result = outcome([trial(0, 2.0), trial(1, best)], checks)
    assert (result.winner.number == 1) is wins
    (verdict,) = tuning_verdict(make_task(), result, 2)
    assert verdict.code == code and verdict.data["plan_loss"] == 2.0 and verdict.data["best_loss"] == min(best, 2.0)
    if plan_check:
        assert (verdict.data["plan_check_loss"], verdict.data["best_check_loss"]) == (plan_check, best_check)


@pytest.mark.parametrize(("steps", "is_even"), [(1000, True), (790, False), (810, True), (1260, False)])
def test_verdict_warns_if_the_speed_differs(steps, is_even):
    facts = [replace(trial(0, 2.0), facts={"steps": 1000}), replace(trial(1, 1.0), facts={"steps": 500})]
    checks = [replace(trial(0, 2.0, 0), facts={"steps": steps}), replace(trial(1, 1.0, 1), facts={"steps": 500})]
    _, *warnings = tuning_verdict(make_task(), outcome(facts, checks), 2)
    expected = {"trial": 0, "search_steps": 1000, "check_steps": steps}
    assert [(warning.code, warning.data) for warning in warnings] == (
        [] if is_even else [("unreliable_speed", expected)]
    )


def test_verdict_of_incomplete_searches():
    def code(result, trials):
        return tuning_verdict(make_task(), result, trials)[0].code

    assert code(Outcome(None, None), 0) == "no_trial_completed"
    assert code(Outcome(None, trial(1, 1.0)), 1) == "plan_not_completed"
    assert code(outcome([trial(0, 2.0)], []), 1) == "only_plan_tried"
    assert code(outcome([trial(0, 2.0), trial(1, 1.0)], []), 2) == "result_not_confirmed"


def test_ticks_are_round_and_inside():
    assert ticks(1.21, 1.49) == [1.25, 1.3, 1.35, 1.4, 1.45] or ticks(1.21, 1.49) == [1.3, 1.4]
    for low, high in ((0.0001, 0.0002), (3.0, 700.0), (-1.0, 1.0)):
        values = ticks(low, high)
        assert 2 <= len(values) <= 11 and all(low <= tick <= high for tick in values)
