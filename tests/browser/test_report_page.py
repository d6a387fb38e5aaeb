"""The report page in a real browser."""

import re
import time

import pytest

import charloom
from charloom.data.vocabulary.characters import Vocabulary
from charloom.report.build import build_report
from charloom.report.provenance import Provenance, find_provenance
from charloom.web.report_page import report_page
from support.browser import DESKTOP, HOSTILE, PHONE, PHONE_OPTIONS, check_accessibility, opened
from support.models import quiet, untrained


def visible(character):
    return {"\n": "↵", " ": "␣"}.get(character, character)


@pytest.fixture(scope="module")
def data(run, text):
    data, _ = build_report(find_provenance(str(run)), text[-1500:], "A text.", quiet)
    return data


@pytest.fixture(scope="module")
def report(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(report_page(data), encoding="utf-8")
    return path.as_uri()


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_all_sections_are_shown_and_fit_the_screen(browser, report, viewport):
    with opened(browser, report, viewport=viewport) as tab:
        titles = tab.locator("section:visible h2").all_inner_texts()
        assert len(titles) >= 8 and tab.locator("nav a").count() == len(titles)
        assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_each_chart_has_a_sentence_on_how_to_read_it(browser, report, data):
    with opened(browser, report) as tab:
        notes = set()
        for metric in ("loss", "learning_rate", "grad_norm", "chars_per_second"):
            tab.locator("#metric").select_option(metric)
            notes.add(tab.locator("#curves + .reading").inner_text())
        assert len(notes) == 4 and all(len(note) > 40 for note in notes)
        for chart in ("#gates .charts", "#context-curve", "#embedding-map"):
            assert len(tab.locator(f"{chart} + .reading").inner_text()) > 40
        assert tab.locator("#verdict").inner_text() == data["verdict"]["message"]
        summary = tab.locator("#neurons-summary").inner_text()
        assert all(feature in summary for feature in data["neurons"]["not_followed"])


def test_pointing_at_a_character_shows_the_top_predictions(browser, report, data, run, text):
    predictions = charloom.load(run).top_guesses(text[-1500:])
    with opened(browser, report) as tab:
        tab.locator("#text span").nth(40).hover()
        assert "character 41" in tab.locator("#predictions").inner_text()
        rows = tab.locator("#predictions li kbd").all_inner_texts()
        shown = [{"↵": "\n", "␣": " "}.get(row, row) for row in rows]
        assert shown[:5] == list(predictions.characters[39])
        assert tab.locator("#predictions li.actual kbd").all_inner_texts() == [visible(text[-1500:][40])]
        percent = tab.locator("#predictions li b").first.inner_text()
        assert float(percent.removesuffix(" %")) == pytest.approx(100 * predictions.probabilities[39, 0], rel=0.06)


def test_tapping_a_character_shows_the_top_predictions(browser, report):
    with opened(browser, report, **PHONE_OPTIONS) as tab:
        tab.locator("#text span").nth(12).tap()
        assert "character 13" in tab.locator("#predictions").inner_text()


def test_arrow_keys_select_characters(browser, report, text):
    with opened(browser, report) as tab:
        tab.locator("#text").focus()
        selected = 1
        for key, step in (("ArrowRight", 1), ("ArrowRight", 1), ("ArrowLeft", -1)):
            tab.keyboard.press(key)
            selected += step
            assert f"character {selected + 1}" in tab.locator("#predictions").inner_text()
        tab.keyboard.press("End")
        assert "character 1,500" in tab.locator("#predictions").inner_text()
        assert tab.locator("#text .here").is_visible()
        tab.keyboard.press("Home")
        assert "character 1\n" in tab.locator("#predictions").inner_text()
        assert tab.locator("#predictions li").count() == 0  # nothing precedes it
        tab.keyboard.press("ArrowDown")
        column = text[-1500:].index("\n") + 1
        assert f"character {column + 1}\n" in tab.locator("#predictions").inner_text()


def test_the_text_is_colored_by_a_neurons_activations(browser, report, data):
    import base64

    packed, each = base64.b64decode(data["neurons"]["states"]), data["neurons"]["bytes_each"]
    with opened(browser, report) as tab:
        for neuron in (0, 17, 47):
            tab.locator("#neuron").fill(str(neuron))
            tab.locator("#neuron").press("Tab")
            assert tab.locator("#legend").get_attribute("data-neuron") == str(neuron)
            classes = tab.evaluate("[...document.querySelectorAll('#text span')].slice(0, 50).map(s => s.className)")
            for i, names in enumerate(classes):
                level = (packed[neuron * each + i // 2] >> (4 * (i % 2)) & 15) - 8
                expected = f"p{level}" if level > 0 else f"n{-level}" if level < 0 else None
                assert (expected in names.split()) if expected else not re.search(r"\b[pn]\d", names)
        tab.locator("#next-neuron").click()
        assert tab.locator("#legend").get_attribute("data-neuron") == "0"
        assert "hidden 0" in tab.locator("#legend").inner_text()
        tab.locator("#color").select_option("")
        assert tab.locator("#legend").get_attribute("data-neuron") == ""


def test_charts_zoom_by_mouse_buttons_and_keys(browser, report):
    with opened(browser, report) as tab:
        path = tab.locator("#curves path").first
        whole, box = path.get_attribute("d"), tab.locator("#curves > svg").bounding_box()
        tab.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 80)
        tab.mouse.down()
        tab.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 80, steps=4)
        tab.mouse.up()
        zoomed = path.get_attribute("d")
        assert zoomed != whole
        tab.locator("#curves > svg").focus()
        tab.keyboard.press("0")
        assert path.get_attribute("d") == whole
        tab.keyboard.press("+")
        assert path.get_attribute("d") not in (whole, zoomed)
        tab.get_by_role("button", name="Reset zoom").first.click()
        assert path.get_attribute("d") == whole
        tab.locator("#metric").select_option("learning_rate")
        assert "learning rate" in tab.locator("#curves > svg").get_attribute("aria-label")


def test_the_slider_selects_samples(browser, report, data):
    with opened(browser, report) as tab:
        last = tab.locator("#sample").inner_text()
        tab.locator("#sample-index").focus()
        tab.keyboard.press("Home")
        assert tab.locator("#step").inner_text() == f"{data['run']['samples'][0]['step']:,}"
        assert tab.locator("#sample").inner_text() != last


@pytest.mark.parametrize(("viewport", "theme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone"])
def test_no_accessibility_violations(browser, report, viewport, theme):
    with opened(browser, report, viewport=viewport, color_scheme=theme, bypass_csp=True) as tab:
        for color in ("", "any"):  # also with the strongest colors behind the text
            tab.locator("#color").select_option(color)
            check_accessibility(tab)


def test_the_theme_follows_the_system_and_can_be_changed(browser, report):
    with opened(browser, report, color_scheme="dark") as tab:
        dark = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        tab.locator("#theme").click()
        assert tab.evaluate("getComputedStyle(document.body).backgroundColor") != dark
        assert tab.locator("#theme").get_attribute("aria-pressed") == "false"


def test_hostile_text_is_only_text(browser, tmp_path):
    model = untrained(Vocabulary.from_text(HOSTILE + "\n"), corpus=HOSTILE)
    provenance = Provenance(HOSTILE, model, None, None, HOSTILE)
    data, _ = build_report(provenance, f"{HOSTILE}\n" * 20, HOSTILE, quiet)
    data["written"][0]["text"] = HOSTILE
    samples, events = [{"step": 1, "text": HOSTILE}], [{"step": 1, "event": HOSTILE}]
    data["run"] = {"evaluations": [], "events": events, "samples": samples}
    (tmp_path / "r.html").write_text(report_page(data), encoding="utf-8")
    with opened(browser, (tmp_path / "r.html").as_uri()) as tab:
        assert tab.evaluate("window.hacked") is None
        assert tab.locator("main img, main script").count() == 0
        assert HOSTILE in tab.locator("#title").inner_text() and HOSTILE in tab.locator("#text").inner_text()


def test_fifty_thousand_characters_open_and_scroll_fast(browser, run, text, tmp_path):
    data, _ = build_report(find_provenance(str(run)), (text * 10)[:50_000], "Long.", quiet)
    (tmp_path / "r.html").write_text(report_page(data), encoding="utf-8")
    with opened(browser, (tmp_path / "r.html").as_uri()) as tab:
        ready = tab.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
        assert ready < 1000
        recolor = """n => { const began = performance.now(), field = document.getElementById("neuron");
            field.value = n; field.onchange(); return performance.now() - began; }"""
        assert max(tab.evaluate(recolor, n) for n in range(5)) < 100
        began = time.perf_counter()
        for _ in range(10):
            tab.evaluate("document.getElementById('text').scrollTop += 3000")
        assert time.perf_counter() - began < 2


def test_the_live_page_shows_a_running_training(browser, text, tmp_path):
    from charloom.serve.live import LivePage

    live = LivePage()
    with live.serve(), opened(browser, live.address) as tab:
        sizes = {"hidden_size": 16, "num_layers": 1, "steps": 30, "eval_every": 10}
        charloom.train(charloom.Corpus(text), run=tmp_path / "run", progress=False, watch=live.take, **sizes)
        tab.locator("#status[data-state=finished]").wait_for(timeout=10_000)
        assert "30" in tab.locator("#status").inner_text()
        assert tab.locator("#curves path").count() >= 2 and tab.locator("#sample").inner_text()
