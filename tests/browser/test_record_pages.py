"""Models of records in the exported page and in the playground."""

import numpy as np
import pytest

from charloom.data.text_format import LABEL_MARK, RECORD_MARK, TextRules
from charloom.data.vocabulary.characters import Vocabulary
from charloom.inference.model import Model
from charloom.model.architecture import Architecture
from charloom.model.file.model_file import SavedModel
from charloom.web.single_page import write_page
from support.browser import opened
from support.models import initial_weights
from support.server import serve_models

LABELS = {"sea": 3, "land": 1, "1990": 2}  # a number as a label: JavaScript objects would reorder it


def record_model(labels=None):
    vocabulary = Vocabulary("".join(sorted(f"\n abcdelnsxyz190{RECORD_MARK}{LABEL_MARK if labels else ''}")))
    architecture = Architecture(len(vocabulary), "gru", 6, 20, 1, True)
    weights = initial_weights(architecture, 3)
    weights["output.weight"] *= 6
    return Model(SavedModel(architecture, vocabulary, weights, rules=TextRules(records="%", labels=labels or {})))


@pytest.fixture
def page(tmp_path):
    def make(model):
        write_page(tmp_path / "page.html", [model.saved])
        return (tmp_path / "page.html").as_uri()

    return make


def generate(tab, prompt, seed):
    tab.locator("#seed").fill(str(seed))
    tab.locator("#text").fill(prompt)
    tab.evaluate("delete document.getElementById('status').dataset.state")
    tab.locator("#continue").click()
    tab.locator("#status[data-state=done]").wait_for(timeout=20_000)
    return tab.evaluate("document.getElementById('text').value")


def wait_for_first_text(tab):
    tab.locator("#status[data-state=done]").wait_for(timeout=20_000)


@pytest.mark.parametrize("prompt", ["", "ab", "ab\ncd"])
def test_the_page_writes_one_record_as_the_command_line_does(browser, page, prompt):
    model = record_model()
    with opened(browser, page(model), offline=True, reduced_motion="reduce") as tab:
        wait_for_first_text(tab)
        texts = [generate(tab, prompt, seed) for seed in range(6)]
        assert texts == [model.generate(prompt, 200, seed=seed, precision="int8") for seed in range(6)]
        assert min(map(len, texts)) < len(prompt) + 200 and RECORD_MARK not in "".join(texts)
        assert not tab.locator("#label-field").is_visible()


@pytest.mark.parametrize("label", [None, *LABELS])
def test_the_page_writes_records_of_the_selected_or_a_drawn_label(browser, page, label):
    model = record_model(LABELS)
    with opened(browser, page(model), offline=True, reduced_motion="reduce") as tab:
        wait_for_first_text(tab)
        assert tab.locator("#label option").all_inner_texts() == ["any", *LABELS]
        tab.locator("#label").select_option(label or "any")
        for seed in range(8):
            expected = model.generate("ab", 200, seed=seed, label=label, precision="int8")
            assert generate(tab, "ab", seed) == expected and LABEL_MARK not in expected


def test_the_page_scores_from_the_start_of_the_record(browser, page):
    model = record_model()
    with opened(browser, page(model), offline=True, reduced_motion="reduce") as tab:
        wait_for_first_text(tab)
        tab.locator("#text").fill("ab\ncd")
        tab.locator("#surprisal").check()
        tab.wait_for_timeout(1500)
        surprisals = model.score("ab\ncd").surprisals
        shown = tab.locator("#count").inner_text()
        mean = float(np.mean(surprisals[-5:]))
        assert f"{mean:.1f}"[:-1] in shown


def test_a_pasted_mark_is_an_unknown_character(browser, page):
    with opened(browser, page(record_model()), offline=True, reduced_motion="reduce") as tab:
        wait_for_first_text(tab)
        tab.locator("#text").fill(f"a{RECORD_MARK}b")
        tab.locator("#continue").click()
        tab.locator("#notice").wait_for(timeout=5_000)
        assert "U+001E" in tab.locator("#notice").inner_text()


# --- the playground


@pytest.fixture(scope="module")
def served():
    models = {"records": record_model(), "labeled": record_model(LABELS)}
    with serve_models(models) as running:
        yield running, models


def test_the_playground_generates_with_the_label_and_sends_it_with_scores(browser, served):
    server, models = served
    with opened(browser, f"http://127.0.0.1:{server.port}", reduced_motion="reduce") as tab:
        tab.locator("#model").select_option("labeled")
        tab.locator("#label").select_option("land")
        for seed in range(4):
            assert generate(tab, "ab", seed) == models["labeled"].generate("ab", 200, seed=seed, label="land")
        assert "The record ended after" in tab.locator("#status").inner_text()
        with tab.expect_request("**/score") as score:
            tab.locator("#surprisal").check()
        assert score.value.post_data_json["label"] == "land"


def test_the_playground_offers_labels_only_for_models_that_have_them(browser, served):
    server, models = served
    with opened(browser, f"http://127.0.0.1:{server.port}", reduced_motion="reduce") as tab:
        tab.locator("#model").select_option("labeled")
        tab.locator("#label").select_option("sea")
        tab.locator("#model").select_option("records")
        assert not tab.locator("#label-field").is_visible()
        assert generate(tab, "ab", 5) == models["records"].generate("ab", 200, seed=5)
