"""The page that shows the tutorials reproduced is what its numbers say, and its numbers are the tutorials'."""

import importlib
import json
import math

import pytest

from support.paths import ROOT

FACTS = json.loads((ROOT / "docs" / "reproduction.json").read_text(encoding="utf-8"))


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module


def test_the_page_is_made_of_the_numbers_beside_it(benchmarks):
    page = (ROOT / "docs" / "reproduction.md").read_text(encoding="utf-8")
    assert benchmarks("reproduction_page").page(FACTS) == page


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_what_does_not_depend_on_training_is_exactly_the_tutorials(cell):
    corpus, untrained = FACTS["corpus"], FACTS["untrained"][cell]
    assert (corpus["characters"], corpus["distinct"]) == (1_115_394, 65)
    assert corpus["windows"] == 1_115_394 // 101 and corpus["batches"] == corpus["windows"] // 64
    assert (
        untrained["parameters"] == sum(untrained["by_weight"].values()) == {"gru": 4_021_569, "lstm": 5_330_241}[cell]
    )
    assert abs(untrained["loss"] - math.log(65)) < 0.01


def test_drawing_does_not_fall_into_the_loop_that_taking_the_likeliest_does():
    for found in FACTS["greedy"].values():
        assert found["greedy"]["loop"][0] < 300
        assert found["drawn at 1.0"]["loop"] is None


@pytest.mark.parametrize(
    ("text", "loop"),
    [
        ("to be or not or not or not or", [5, 7]),
        ("abcabcab", None),
        ("aaa", [0, 1]),
        ("xyabababab", [2, 2]),
        ("", None),
    ],
)
def test_a_loop_is_where_a_text_ends_in_repeating_itself(benchmarks, text, loop):
    assert benchmarks("reproduce").find_loop(text) == loop
