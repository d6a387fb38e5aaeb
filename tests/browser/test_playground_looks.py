"""How the playground looks in a real browser: colours, a phone, a long text, and that everybody can read it."""

import io
import re
import time

import pytest

from support.browser import DESKTOP, PHONE_OPTIONS, check_for_everybody
from support.playground import bits, costing, goes_on, marked, page, until, wait_for, written


@pytest.mark.slow
def test_every_character_is_coloured_by_what_it_cost(browser, stub):
    with page(browser, stub) as tab:
        tab.locator("#text").fill("Shall I compare\nthee")
        tab.get_by_label("Colour by surprise").check()
        until(tab, lambda: marked(tab, "bits7"))
        text = written(tab)
        for level in range(1, 8):
            assert "".join(marked(tab, f"bits{level}")) == costing(level, text, bits(text))
        assert stub.last("/score") == {"model": "shakespeare", "text": text}
        assert "bits per character" in tab.locator("#count").inner_text() and tab.locator("#legend").is_visible()
        asked = stub.count("/score")
        tab.locator("#text").press("End")
        tab.keyboard.type("!")  # what stands before keeps its colours meanwhile
        assert len("".join("".join(marked(tab, f"bits{level}")) for level in range(1, 8))) >= 10
        until(tab, lambda: stub.count("/score") == asked + 1)
        tab.get_by_label("Colour by surprise").uncheck()
        assert not marked(tab, "bits7") and tab.locator("#legend").is_hidden()


@pytest.mark.slow
def test_the_mirror_shows_exactly_what_the_writing_area_would(browser, stub):
    """Every letter, space and line break stands at the same pixel; only the colours differ."""
    Image = pytest.importorskip("PIL.Image")
    ImageChops = pytest.importorskip("PIL.ImageChops")
    line = (
        "Fie, my lord!\n\n  AVAST To Te WA fi ffl 'tis; a line that is far too long for the paper and goes on and on "
    )
    strange = "\n\tx   y " + "w" * 120 + "\ntrailing spaces" + " " * 90 + "\nשלום עולם abc\n😀 é ’\n\n"
    text = line * 3 + strange
    stub.write = lambda _: [text]
    bare = "#text { color: var(--ink) !important } #mirror { visibility: hidden } "
    both = "::highlight(model) { color: var(--ink) !important; text-decoration: none !important }"
    for options in ({"viewport": DESKTOP}, PHONE_OPTIONS):
        with page(browser, stub, bypass_csp=True, **options) as tab:
            tab.locator("#model").select_option("anything")
            tab.locator("#text").fill("Mine. " + text)
            goes_on(tab)
            tab.locator("#text").blur()
            shots = []
            for style in (both, both + bare):
                tag = tab.add_style_tag(content=style)
                shots.append(tab.locator("#paper").screenshot())
                tag.evaluate("tag => tag.remove()")
            images = [Image.open(io.BytesIO(shot)).convert("RGB") for shot in shots]
            differences = ImageChops.difference(*images).getextrema()
            assert max(most for _, most in differences) <= 2  # of 255: rounding where letters overlap an edge
            assert tab.evaluate("text.scrollHeight === text.clientHeight && mirror.offsetHeight === text.offsetHeight")


@pytest.mark.slow
def test_a_phone_shows_all_of_it_and_nothing_is_wider_than_the_screen(browser, stub):
    narrow = "innerWidth === 360 && document.documentElement.scrollWidth <= innerWidth"
    with page(browser, stub, **PHONE_OPTIONS) as tab:
        tab.locator("#text").fill("Ay me " + "w" * 300)
        button = tab.locator("#continue")
        assert button.bounding_box()["height"] >= 48 and button.bounding_box()["width"] >= 140
        button.tap()
        wait_for(tab, "#status", "seed")
        assert len(written(tab)) == 506 and tab.evaluate(narrow)
        tab.get_by_role("button", name="Settings").tap()
        tab.locator("#versions").select_option("4")
        assert tab.evaluate(narrow)
        tab.get_by_role("button", name="Done").tap()
        button.tap()
        wait_for(tab, "#status", "4 versions")
        assert tab.evaluate(narrow)
        button.tap()
        assert tab.locator("#choices").is_hidden()
        tab.get_by_label("Colour by surprise").tap()
        tab.locator("#guesses button").first.tap()
        until(tab, lambda: len(written(tab)) == 507)
        assert tab.evaluate(narrow)
        sizes = [one.bounding_box() for one in tab.locator("#dock button:visible, header button:visible").all()]
        assert min(box["height"] for box in sizes if box) >= 24


@pytest.mark.slow
def test_what_is_written_stays_in_sight(browser, stub):
    stub.write = lambda request: ["line\n" * 10] * (request["max_tokens"] // 50)
    with page(browser, stub) as tab:
        tab.locator("#length").fill("2000")
        tab.locator("#text").focus()
        goes_on(tab)
        end = "document.querySelector('#mirror > div:last-child').getBoundingClientRect().bottom"
        until(tab, lambda: 0 < tab.evaluate(end) <= tab.locator("#dock").bounding_box()["y"])


@pytest.mark.slow
@pytest.mark.parametrize("still", [True, False])
def test_reduced_motion_shows_at_once_what_has_come(browser, stub, still):
    stub.write = lambda _: ["x" * 3000]
    with page(browser, stub, reduced_motion="reduce" if still else "no-preference") as tab:
        tab.locator("#length").fill("3000")
        tab.evaluate("window.seen = new Set(); new MutationObserver(() => seen.add(text.value.length))"
                     ".observe(mirror, { subtree: true, characterData: true, childList: true })")  # fmt: skip
        tab.locator("#text").press("Tab")
        wait_for(tab, "#status", "seed")
        lengths = tab.evaluate("seen.size")
        assert lengths <= 2 if still else lengths > 20


@pytest.mark.slow
def test_a_long_text_stays_quick(browser, stub):
    stub.write = lambda _: [("The loom is warm and the thread is long. " * 3 + "\n") * 400]
    with page(browser, stub) as tab:
        tab.locator("#surprise").check()
        tab.locator("#text").focus()
        goes_on(tab)
        until(tab, lambda: marked(tab, "bits7"))
        assert len(written(tab)) > 49_000
        began = time.perf_counter()
        tab.keyboard.type("twenty letters more.")
        assert time.perf_counter() - began < 4
        assert written(tab).endswith("twenty letters more.")


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"color_scheme": "light"}, id="desktop"),
        pytest.param({"color_scheme": "dark", **PHONE_OPTIONS}, id="phone"),
    ],
)
def test_it_can_be_used_by_everybody(browser, stub, options):
    """In any state of the page."""
    with page(browser, stub, bypass_csp=True, **options) as tab:
        check_for_everybody(tab)
        tab.locator("#text").fill("Ay me é")
        tab.locator("#text").press("Tab")
        check_for_everybody(tab)  # with a notice
        tab.get_by_role("button", name="Write them plainly").click()
        wait_for(tab, "#status", "seed")
        tab.locator("#guesses button").first.wait_for()
        tab.get_by_label("Colour by surprise").check()
        check_for_everybody(tab)
        tab.get_by_label("Colour by surprise").uncheck()
        if tab.locator("#more").is_visible():
            tab.locator("#more").click()
            check_for_everybody(tab)
        tab.locator("#versions").select_option("3")
        tab.keyboard.press("Escape")
        tab.locator("#continue").click()
        wait_for(tab, "#status", "3 versions")
        check_for_everybody(tab)


def luminance(colour):
    parts = [float(part) / 255 for part in re.findall(r"[\d.]+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_letters_can_be_read_in_every_colour(browser, stub, theme):
    """What axe cannot see: the colours of highlights, painted and measured, at least 4.5 to 1."""
    with page(browser, stub, color_scheme=theme) as tab:
        script = """names => { const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
          const probe = document.createElement("i"); document.body.append(probe);
          return names.map(layers => { for (const name of layers) { probe.style.color = `var(--${name})`;
            canvas.fillStyle = getComputedStyle(probe).color; canvas.fillRect(0, 0, 1, 1); }
            return `rgb(${[...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3)})`; }); }"""
        names = [["page"], ["ink"], ["its"], *(["page", f"b{level}"] for level in range(1, 8))]
        paper, ink, its, *shades = map(luminance, tab.evaluate(script, names))
        for back, front in [(paper, ink), (paper, its), *((shade, ink) for shade in shades)]:
            assert (max(back, front) + 0.05) / (min(back, front) + 0.05) >= 4.5
        assert len({round(shade, 3) for shade in shades}) == 7
