"""The playground's appearance in a real browser: colors, layout on a phone, long texts, accessibility."""

import io
import re
import time

import pytest

from support.browser import DESKTOP, PHONE_OPTIONS, check_accessibility
from support.playground import (
    characters_at_level,
    editor_text,
    highlighted,
    playground_page,
    press_and_wait,
    stub_surprisals,
    wait_for_status,
    wait_until,
)


@pytest.mark.slow
def test_characters_are_colored_by_surprisal(browser, stub):
    with playground_page(browser, stub) as tab:
        tab.locator("#text").fill("Shall I compare\nthee")
        tab.get_by_label("Color by surprisal").check()
        wait_until(tab, lambda: highlighted(tab, "bits7"))
        text = editor_text(tab)
        for level in range(1, 8):
            assert "".join(highlighted(tab, f"bits{level}")) == characters_at_level(level, text, stub_surprisals(text))
        assert stub.last_request("/score") == {"model": "shakespeare", "text": text}
        assert "bits per character" in tab.locator("#count").inner_text() and tab.locator("#legend").is_visible()
        requests = stub.request_count("/score")
        tab.locator("#text").press("End")
        tab.keyboard.type("!")  # the text before it keeps its colors until it is scored again
        assert len("".join("".join(highlighted(tab, f"bits{level}")) for level in range(1, 8))) >= 10
        wait_until(tab, lambda: stub.request_count("/score") == requests + 1)
        tab.get_by_label("Color by surprisal").uncheck()
        assert not highlighted(tab, "bits7") and tab.locator("#legend").is_hidden()


@pytest.mark.slow
def test_mirror_and_textarea_render_identically(browser, stub):
    """Every character is at the same pixel in both; only the colors differ."""
    Image = pytest.importorskip("PIL.Image")
    ImageChops = pytest.importorskip("PIL.ImageChops")
    line = (
        "Fie, my lord!\n\n  AVAST To Te WA fi ffl 'tis; a line that is far too long for the paper and goes on and on "
    )
    strange = "\n\tx   y " + "w" * 120 + "\ntrailing spaces" + " " * 90 + "\nשלום עולם abc\n😀 é ’\n\n"
    text = line * 3 + strange
    stub.generate = lambda _: [text]
    bare = "#text { color: var(--ink) !important } #mirror { visibility: hidden } "
    both = "::highlight(model) { color: var(--ink) !important; text-decoration: none !important }"
    for options in ({"viewport": DESKTOP}, PHONE_OPTIONS):
        with playground_page(browser, stub, bypass_csp=True, **options) as tab:
            tab.locator("#model").select_option("anything")
            tab.locator("#text").fill("Mine. " + text)
            press_and_wait(tab)
            tab.locator("#text").blur()
            shots = []
            for style in (both, both + bare):
                tag = tab.add_style_tag(content=style)
                shots.append(tab.locator("#editor").screenshot())
                tag.evaluate("tag => tag.remove()")
            images = [Image.open(io.BytesIO(shot)).convert("RGB") for shot in shots]
            differences = ImageChops.difference(*images).getextrema()
            assert max(high for _, high in differences) <= 2  # of 255: rounding where letters overlap an edge
            assert tab.evaluate("text.scrollHeight === text.clientHeight && mirror.offsetHeight === text.offsetHeight")


@pytest.mark.slow
def test_layout_fits_a_phone(browser, stub):
    narrow = "innerWidth === 360 && document.documentElement.scrollWidth <= innerWidth"
    with playground_page(browser, stub, **PHONE_OPTIONS) as tab:
        tab.locator("#text").fill("Ay me " + "w" * 300)
        button = tab.locator("#continue")
        assert button.bounding_box()["height"] >= 48 and button.bounding_box()["width"] >= 140
        button.tap()
        wait_for_status(tab, "done")
        assert len(editor_text(tab)) == 506 and tab.evaluate(narrow)
        tab.get_by_role("button", name="Settings").tap()
        tab.locator("#versions").select_option("4")
        assert tab.evaluate(narrow)
        tab.get_by_role("button", name="Done").tap()
        button.tap()
        wait_for_status(tab, "choosing", versions=4)
        assert tab.evaluate(narrow)
        button.tap()
        assert tab.locator("#choices").is_hidden()
        tab.get_by_label("Color by surprisal").tap()
        tab.locator("#predictions button").first.tap()
        wait_until(tab, lambda: len(editor_text(tab)) == 507)
        assert tab.evaluate(narrow)
        sizes = [one.bounding_box() for one in tab.locator("#controls button:visible, header button:visible").all()]
        assert min(box["height"] for box in sizes if box) >= 24


@pytest.mark.slow
def test_generated_text_stays_visible(browser, stub):
    stub.generate = lambda request: ["line\n" * 10] * (request["max_tokens"] // 50)
    with playground_page(browser, stub) as tab:
        tab.locator("#length").fill("2000")
        tab.locator("#text").focus()
        press_and_wait(tab)
        end = "document.querySelector('#mirror > div:last-child').getBoundingClientRect().bottom"
        wait_until(tab, lambda: 0 < tab.evaluate(end) <= tab.locator("#controls").bounding_box()["y"])


@pytest.mark.slow
@pytest.mark.parametrize("reduced", [True, False])
def test_reduced_motion_shows_received_text_at_once(browser, stub, reduced):
    stub.generate = lambda _: ["x" * 3000]
    with playground_page(browser, stub, reduced_motion="reduce" if reduced else "no-preference") as tab:
        tab.locator("#length").fill("3000")
        tab.evaluate("window.seen = new Set(); new MutationObserver(() => seen.add(text.value.length))"
                     ".observe(mirror, { subtree: true, characterData: true, childList: true })")  # fmt: skip
        tab.locator("#text").press("Tab")
        wait_for_status(tab, "done")
        lengths = tab.evaluate("seen.size")
        assert lengths <= 2 if reduced else lengths > 20


@pytest.mark.slow
def test_typing_in_a_long_text_is_fast(browser, stub):
    stub.generate = lambda _: [("The loom is warm and the thread is long. " * 3 + "\n") * 400]
    with playground_page(browser, stub) as tab:
        tab.locator("#surprisal").check()
        tab.locator("#text").focus()
        press_and_wait(tab)
        wait_until(tab, lambda: highlighted(tab, "bits7"))
        assert len(editor_text(tab)) > 49_000
        began = time.perf_counter()
        tab.keyboard.type("twenty letters more.")
        assert time.perf_counter() - began < 4
        assert editor_text(tab).endswith("twenty letters more.")


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"color_scheme": "light"}, id="desktop"),
        pytest.param({"color_scheme": "dark", **PHONE_OPTIONS}, id="phone"),
    ],
)
def test_no_accessibility_violations(browser, stub, options):
    """axe-core checks the page in each of its states."""
    with playground_page(browser, stub, bypass_csp=True, **options) as tab:
        check_accessibility(tab)
        tab.locator("#text").fill("Ay me é")
        tab.locator("#text").press("Tab")
        check_accessibility(tab)  # a notice is shown
        tab.get_by_role("button", name="Replace").click()
        wait_for_status(tab, "done")
        tab.locator("#predictions button").first.wait_for()
        tab.get_by_label("Color by surprisal").check()
        check_accessibility(tab)
        tab.get_by_label("Color by surprisal").uncheck()
        if tab.locator("#open-settings").is_visible():
            tab.locator("#open-settings").click()
            check_accessibility(tab)
        tab.locator("#versions").select_option("3")
        tab.keyboard.press("Escape")
        tab.locator("#continue").click()
        wait_for_status(tab, "choosing", versions=3)
        check_accessibility(tab)


def luminance(color):
    parts = [float(part) / 255 for part in re.findall(r"[\d.]+", color)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_color_has_enough_contrast(browser, stub, theme):
    """Highlights, which axe-core does not check, have a contrast of at least 4.5 to 1."""
    with playground_page(browser, stub, color_scheme=theme) as tab:
        script = """names => { const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
          const probe = document.createElement("i"); document.body.append(probe);
          return names.map(layers => { for (const name of layers) { probe.style.color = `var(--${name})`;
            canvas.fillStyle = getComputedStyle(probe).color; canvas.fillRect(0, 0, 1, 1); }
            return `rgb(${[...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3)})`; }); }"""
        names = [["page"], ["ink"], ["generated"], *(["page", f"b{level}"] for level in range(1, 8))]
        page, ink, generated, *shades = map(luminance, tab.evaluate(script, names))
        for back, front in [(page, ink), (page, generated), *((shade, ink) for shade in shades)]:
            assert (max(back, front) + 0.05) / (min(back, front) + 0.05) >= 4.5
        assert len({round(shade, 3) for shade in shades}) == 7
