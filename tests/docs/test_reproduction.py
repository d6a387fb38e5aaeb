"""The recorded reproduction of the tutorial: figures that do not depend on training equal the tutorial's."""

import importlib
import json
import math

import pytest

from support.paths import ROOT

FACTS = json.loads((ROOT / "benchmarks" / "results" / "reproduction.json").read_text(encoding="utf-8"))


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_text_windows_and_models_equal_the_tutorial(cell):
    corpus, untrained = FACTS["corpus"], FACTS["untrained"][cell]
    assert (corpus["characters"], corpus["distinct"]) == (1_115_394, 65)
    assert corpus["windows"] == 1_115_394 // 101 and corpus["batches"] == corpus["windows"] // 64
    assert (
        untrained["parameters"] == sum(untrained["by_weight"].values()) == {"gru": 4_021_569, "lstm": 5_330_241}[cell]
    )
    assert abs(untrained["loss"] - math.log(65)) < 0.01


def test_greedy_decoding_ends_in_a_loop_and_sampling_does_not():
    for texts in FACTS["greedy"].values():
        assert texts["greedy"]["loop"][0] < 300
        assert texts["drawn at 1.0"]["loop"] is None


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
def test_find_loop_finds_the_repeated_end_of_a_text(benchmarks, text, loop):
    assert benchmarks("reproduce").find_loop(text) == loop
