"""The playground in a real browser, against a stub of the server; without Chromium and Playwright these tests skip."""

import io
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from charloom.serve.playground import playground_files
from playground_stub import GUESSES, LETTERS, Stub, bits, woven

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: make browser")

DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 780}
HOSTILE = '<script>window.hacked=1</script><img src=x onerror="window.hacked=1">'
PHONE_OPTIONS = {"viewport": PHONE, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        yield started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


@pytest.fixture
def stub():
    server = Stub()
    yield server
    server.close()


@contextmanager
def opened(browser, address, expected=None, viewport=DESKTOP, **options):
    """Open the page; afterwards there must have been no error but an expected one, and no request to anywhere else."""
    context = browser.new_context(viewport=viewport, **options)
    tab, wrong = context.new_page(), []
    tab.set_default_timeout(40_000)
    tab.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on(
        "request",
        lambda request: None if request.url.startswith((address, "data:", "blob:")) else wrong.append(request.url),
    )
    try:
        tab.goto(address)
        yield tab
    except Exception as failure:
        failure.add_note(f"The page said: {wrong}")
        raise
    finally:
        context.close()
    assert [message for message in wrong if not (expected and re.search(expected, message))] == []


@contextmanager
def page(browser, stub, **options):
    with opened(browser, stub.address, **options) as tab:
        tab.locator("#model option").first.wait_for(state="attached")
        yield tab


def written(tab):
    return tab.locator("#text").input_value()


def wait_for(tab, selector, text):
    tab.locator(selector, has_text=text).wait_for()


def until(tab, holds):
    """Wait for something to hold while the page goes on."""
    for _ in range(800):
        if holds():
            return
        tab.wait_for_timeout(50)
    raise AssertionError("it never came")


def goes_on(tab, key="Tab"):
    """Let the model write, and wait until it has."""
    tab.keyboard.press(key)
    wait_for(tab, "#status", re.compile(r"seed \d+|versions"))


def marked(tab, name="model"):
    """The stretches of text that are highlighted, in their order."""
    script = """name => [...CSS.highlights.get(name)].map(r => [r.startContainer, r.startOffset, r.endOffset])
      .sort(([a, i], [b, j]) => a === b ? i - j : a.compareDocumentPosition(b) & 4 ? -1 : 1)
      .map(([node, start, end]) => node.data.slice(start, end))"""
    return tab.evaluate(script, name)


def costing(level, text, costs):
    """The characters of a text that cost so many whole bits, line ends left out: they have no colour."""
    pairs = zip(text, costs, strict=True)
    return "".join(c for c, cost in pairs if c != "\n" and min(7, int(cost or 0)) == level)


def test_the_files_are_what_a_browser_takes():
    files = playground_files()
    kinds = {path.rpartition(".")[2] or "/": kind for path, (kind, _) in files.items()}
    assert kinds == {
        "/": "text/html; charset=utf-8",
        "css": "text/css; charset=utf-8",
        "js": "text/javascript; charset=utf-8",
    }
    for path, (_, content) in files.items():
        text = content.decode("utf-8")
        assert not re.search(
            r"https?://|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|style=", text
        ), path
        for asked in re.findall(r'(?:from|src=|href=) ?"(?:\./|playground/)([a-z.]+)"', text):
            assert f"/playground/{asked}" in files


def test_tab_lets_the_model_continue_from_the_cursor(browser, stub):
    with page(browser, stub) as tab:
        tab.locator("#text").fill("To be, or")
        goes_on(tab)
        asked = stub.last("/v1/completions")
        assert asked == {"model": "shakespeare", "prompt": "To be, or", "max_tokens": 200, "temperature": 0.8,
                         "top_p": 1, "seed": asked["seed"], "stream": True}  # fmt: skip
        assert written(tab) == "To be, or" + woven(asked["seed"], 200)
        assert marked(tab) == [woven(asked["seed"], 200)]
        assert tab.locator("#status").inner_text() == f"Wrote 200 characters, seed {asked['seed']}."
        assert "209 characters, 4 % yours" in tab.locator("#count").inner_text()
        tab.locator("#text").press("Control+Home")
        for _ in range(6):
            tab.keyboard.press("ArrowRight")
        goes_on(tab)
        assert stub.last("/v1/completions")["prompt"] == "To be,"
        assert written(tab).startswith("To be,") and written(tab)[206:209] == " or"


def test_a_seed_gives_the_same_text_again(browser, stub):
    with page(browser, stub) as tab:
        tab.locator("#text").fill("Ay")
        goes_on(tab)
        first, seed = written(tab), stub.last("/v1/completions")["seed"]
        tab.get_by_role("button", name="Keep this seed").click()
        assert tab.locator("#seed").input_value() == str(seed)
        tab.locator("#text").fill("Ay")
        goes_on(tab)
        assert written(tab) == first and stub.last("/v1/completions")["seed"] == seed
        goes_on(tab, "Control+Enter")  # another: never with the seed that is kept
        assert stub.last("/v1/completions")["seed"] != seed and stub.last("/v1/completions")["prompt"] == "Ay"
        assert len(written(tab)) == len(first) and written(tab) != first
        tab.keyboard.press("Control+z")
        assert written(tab) == first


@pytest.mark.slow
def test_escape_stops_it_and_the_server_is_told(browser, stub):
    stub.pause = 0.03
    with page(browser, stub) as tab:
        tab.locator("#length").fill("5000")
        tab.locator("#text").fill("Ay")
        tab.keyboard.press("Tab")
        assert tab.get_by_role("button", name="Stop").is_visible()
        until(tab, lambda: len(written(tab)) > 20)
        tab.keyboard.press("Escape")
        wait_for(tab, "#status", "Stopped after")
        stopped = written(tab)
        until(tab, lambda: stub.cut == 1)
        assert written(tab) == stopped and 20 < len(stopped) < 4000
        assert tab.locator("#status").inner_text().startswith(f"Stopped after {len(stopped) - 2} characters")


@pytest.mark.slow
def test_who_types_takes_over(browser, stub):
    stub.pause = 0.03
    with page(browser, stub) as tab:
        tab.locator("#text").fill("Ay")
        tab.keyboard.press("Tab")
        until(tab, lambda: len(written(tab)) > 20)
        tab.keyboard.type("!?")
        until(tab, lambda: stub.cut == 1)
        its = marked(tab)[0]
        assert written(tab) == "Ay" + its + "!?"
        tab.keyboard.press("Control+z")
        assert written(tab) == "Ay" + its
        tab.keyboard.press("Control+z")
        assert written(tab) == "Ay"


@pytest.mark.slow
def test_tab_is_no_trap(browser, stub):
    with page(browser, stub) as tab:
        tab.locator("#guesses button").first.wait_for()  # they stand between the text and what follows
        tab.locator("#text").focus()
        tab.keyboard.press("Escape")
        wait_for(tab, "#status", "Tab now leaves the text.")
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.id") != "text" and stub.count("/v1/completions") == 0
        tab.keyboard.press("Shift+Tab")
        assert tab.evaluate("document.activeElement.id") == "text"
        tab.keyboard.press("Shift+Tab")
        assert tab.evaluate("document.activeElement.id") == "surprise"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["key", "click", "button"])
def test_several_versions_of_which_one_is_taken(browser, stub, how):
    with page(browser, stub) as tab:
        tab.locator("#versions").select_option("3")
        tab.locator("#seed").fill("50")
        tab.locator("#text").fill("Ay me")
        goes_on(tab)
        texts = tab.locator(".choice .letters").all_text_contents()
        assert texts == [woven(50 + i, 200) for i in range(3)] and written(tab) == "Ay me"
        if how == "key":
            tab.keyboard.press("2")
        elif how == "click":
            tab.locator(".choice .letters").nth(1).click()
        else:
            tab.get_by_role("button", name="Take version 2").press("Enter")
        assert written(tab) == "Ay me" + woven(51, 200) and tab.locator("#choices").is_hidden()
        wait_for(tab, "#status", "seed 51")
        assert tab.evaluate("document.activeElement.id") == "text"
        tab.keyboard.type("2")
        assert written(tab).endswith("2")
        tab.keyboard.press("Control+z")
        tab.keyboard.press("Control+z")
        assert written(tab) == "Ay me"


@pytest.mark.slow
def test_a_version_taken_early_goes_on_in_the_text(browser, stub):
    stub.pause = 0.03
    with page(browser, stub) as tab:
        tab.locator("#versions").select_option("4")
        tab.locator("#seed").fill("7")
        tab.locator("#text").fill("Ay me")
        tab.keyboard.press("Tab")
        until(tab, lambda: len(tab.locator(".choice .letters").nth(3).text_content()) > 30)
        tab.keyboard.press("4")
        until(tab, lambda: stub.cut == 3)
        wait_for(tab, "#status", "Wrote 200 characters, seed 10.")
        assert written(tab) == "Ay me" + woven(10, 200)


@pytest.mark.slow
def test_versions_can_be_put_away_or_asked_for_again(browser, stub):
    with page(browser, stub) as tab:
        tab.locator("#versions").select_option("2")
        tab.locator("#text").fill("Ay me")
        goes_on(tab)
        tab.keyboard.type("xyz")  # the text waits
        assert written(tab) == "Ay me"
        seed = stub.last("/v1/completions")["seed"]
        tab.keyboard.press("Control+Enter")
        until(tab, lambda: stub.count("/v1/completions") == 4)
        assert stub.last("/v1/completions")["seed"] != seed
        wait_for(tab, "#status", "2 versions")
        tab.keyboard.press("Escape")
        assert tab.locator("#choices").is_hidden() and written(tab) == "Ay me"
        tab.keyboard.type("!")
        assert written(tab) == "Ay me!"


@pytest.mark.slow
def test_what_is_selected_is_rewritten(browser, stub):
    with page(browser, stub) as tab:
        tab.locator("#text").fill("Ay me, what now")
        tab.locator("#length").fill("5")
        tab.evaluate("document.getElementById('text').setSelectionRange(3, 5)")
        tab.locator("#text").focus()
        goes_on(tab)
        five = woven(stub.last("/v1/completions")["seed"], 5)
        assert written(tab) == f"Ay {five}, what now" and stub.last("/v1/completions")["prompt"] == "Ay "
        tab.keyboard.press("Control+z")
        assert written(tab) == "Ay me, what now"
        assert tab.evaluate("[text.selectionStart, text.selectionEnd]") == [3, 5]


@pytest.mark.slow
def test_undo_and_redo_go_word_by_word_and_remember_who_wrote_what(browser, stub):
    with page(browser, stub) as tab:
        tab.locator("#length").fill("6")
        tab.locator("#text").focus()
        tab.keyboard.type("one two ")
        goes_on(tab)
        model = marked(tab)[0]
        tab.keyboard.type("three")
        states = ["", "one ", "one two ", f"one two {model}", f"one two {model}three"]
        for state in reversed(states[:-1]):
            tab.keyboard.press("Control+z")
            assert written(tab) == state
        assert tab.locator("#undo").is_disabled()
        for state in states[1:]:
            tab.keyboard.press("Control+Shift+z")
            assert written(tab) == state
        assert marked(tab) == [model] and tab.locator("#redo").is_disabled()
        tab.get_by_role("button", name="Undo").click()
        tab.get_by_role("button", name="Clear").click()
        assert written(tab) == ""
        tab.keyboard.press("Control+z")
        assert written(tab) == states[-2] and marked(tab) == [model]


@pytest.mark.slow
def test_typing_inside_what_the_model_wrote_is_the_writers(browser, stub):
    stub.write = lambda _: ["aaaa aaaa"]
    with page(browser, stub) as tab:
        tab.locator("#text").focus()
        goes_on(tab)
        for _ in range(3):
            tab.keyboard.press("ArrowLeft")
        tab.keyboard.type("aa")  # equal letters: only the cursor says which are new
        assert written(tab) == "aaaa aaaaaa" and marked(tab) == ["aaaa a", "aaa"]
        tab.keyboard.press("Backspace")
        assert marked(tab) == ["aaaa a", "aaa"] and written(tab) == "aaaa aaaaa"


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
def test_guesses_are_of_the_cursors_place_and_can_be_taken(browser, stub):
    with page(browser, stub) as tab:
        tab.locator("#text").fill("The que")
        until(tab, lambda: stub.count("/guesses") and stub.last("/guesses")["text"] == "The que")
        assert stub.last("/guesses") == {"model": "shakespeare", "text": "The que", "k": 5}
        rows = tab.locator("#guesses button")
        until(tab, lambda: rows.count() == len(GUESSES) and rows.first.inner_text())
        assert rows.first.inner_text().split() == ["e", "41", "%"]
        assert rows.nth(2).get_attribute("aria-label") == "new line, 10 percent"
        tab.keyboard.press("Home")
        tab.keyboard.press("ArrowRight")
        until(tab, lambda: stub.last("/guesses")["text"] == "T")
        tab.keyboard.press("Alt+1")
        tab.keyboard.press("Alt+3")  # before the server has answered: taken when it has
        until(tab, lambda: written(tab) == "Te\nhe que")
        assert marked(tab) == ["e"]
        until(tab, lambda: stub.last("/guesses")["text"] == "Te\n")
        rows.nth(1).click()
        until(tab, lambda: written(tab) == "Te\n he que")
        assert tab.evaluate("document.activeElement.id") == "text"


@pytest.mark.slow
def test_characters_of_two_units_stay_whole(browser, stub):
    stub.write = lambda _: ["a😀", "😀b", "🧵"]
    with page(browser, stub) as tab:
        tab.locator("#model").select_option("anything")
        tab.locator("#text").fill("😀😁")
        goes_on(tab)
        assert written(tab) == "😀😁a😀😀b🧵" and marked(tab) == ["a😀😀b🧵"]
        assert "7 characters, 29 % yours" in tab.locator("#count").inner_text()
        assert "Wrote 5 characters" in tab.locator("#status").inner_text()
        tab.get_by_label("Colour by surprise").check()
        until(tab, lambda: any(marked(tab, f"bits{level}") for level in range(1, 8)))
        for level in range(1, 8):
            assert "".join(marked(tab, f"bits{level}")) == costing(level, written(tab), bits(written(tab)))
        tab.locator("#text").press("Control+End")
        for _ in range(2):
            tab.keyboard.press("ArrowLeft")
        tab.keyboard.type("😂")  # shares its first half with its neighbours
        assert written(tab) == "😀😁a😀😀😂b🧵" and marked(tab) == ["a😀😀", "b🧵"]


@pytest.mark.slow
def test_line_ends_of_any_kind_become_those_of_the_page(browser, stub):
    stub.write = lambda _: ["a\r", "\nb\r", "c\r\n", "d\r"]
    with page(browser, stub) as tab:
        tab.locator("#text").focus()
        goes_on(tab)
        assert written(tab) == "a\nb\nc\nd\n" and "".join(marked(tab)) == "abcd"
        tab.keyboard.type("e")
        assert written(tab) == "a\nb\nc\nd\ne" and "".join(marked(tab)) == "abcd"


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
@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("length", "many", "Length is “many”. It takes a whole number from 1 to 20,000."),
        ("length", "20001", "Length is “20001”. It takes a whole number from 1 to 20,000."),
        ("seed", "-1", "Seed is “-1”. It takes a whole number from 0 to"),
        ("stop", "x" * 65, "Stop at has 65 characters. It takes up to 64."),
    ],
)
def test_a_setting_that_makes_no_sense_is_said_to(browser, stub, field, value, message):
    with page(browser, stub) as tab:
        tab.locator(f"#{field}").fill(value)
        tab.locator("#text").press("Tab")
        assert message in tab.locator("#notice p").inner_text()
        assert tab.evaluate("document.activeElement.id") == field and stub.count("/v1/completions") == 0
        tab.locator(f"#{field}").fill("3")
        tab.locator("#text").focus()
        goes_on(tab)
        assert tab.locator("#notice").is_hidden()


@pytest.mark.slow
def test_settings_are_sent_and_kept(browser, stub):
    with page(browser, stub) as tab:
        for name, value in {
            "temperature": "1.3",
            "top_p": "0.9",
            "length": "12",
            "seed": "4",
            "stop": r"\n\n.",
        }.items():
            tab.locator(f"#{name}").fill(value)
        tab.locator("#text").focus()
        goes_on(tab)
        expected = {"model": "shakespeare", "prompt": "", "max_tokens": 12, "temperature": 1.3, "top_p": 0.9, "seed": 4}
        assert stub.last("/v1/completions") == {**expected, "stop": ["\n\n."], "stream": True}
        assert tab.locator("output").all_inner_texts() == ["1.30", "0.90"]
        tab.reload()
        assert [tab.locator(f"#{name}").input_value() for name in ("temperature", "length", "stop")] == [
            "1.3",
            "12",
            r"\n\n.",
        ]


@pytest.mark.slow
def test_unknown_characters_are_named_and_can_be_taken_out_or_made_plain(browser, stub):
    with page(browser, stub) as tab:
        tab.locator("#length").fill("5")
        tab.locator("#text").fill("“Café”—日本")
        tab.keyboard.press("Tab")
        said = tab.locator("#notice p").inner_text()
        assert said.startswith(f"shakespeare knows {len(LETTERS)} characters, but not ““” (U+201C), “é” (U+00E9)")
        assert "“日” (U+65E5)" in said and stub.count("/v1/completions") == 0
        assert not tab.get_by_role("button", name="Write them plainly").is_visible()
        tab.get_by_role("button", name="Take them out").click()
        wait_for(tab, "#status", "seed")
        assert stub.last("/v1/completions")["prompt"] == "Caf"
        tab.locator("#text").fill("d’être—là")
        tab.keyboard.press("Tab")
        tab.get_by_role("button", name="Write them plainly: ’ → ', ê → e").click()
        until(tab, lambda: stub.last("/v1/completions")["prompt"] == "d'etre--la")
        wait_for(tab, "#status", "seed")
        tab.keyboard.press("Control+z")
        tab.keyboard.press("Control+z")
        assert written(tab) == "d’être—là"


@pytest.mark.slow
def test_a_refusal_is_shown_in_the_servers_words(browser, stub):
    with page(browser, stub, expected="status of (400|429|500)") as tab:
        for status, error, shown in (
            (400, {"message": "Too hot by 3.", "code": "x"}, "Too hot by 3."),
            (429, {"message": "Many write already.", "code": "busy"}, "Many write already. Try again in 2 s."),
            (500, None, "The server answered with an error: 500"),
        ):
            stub.refusals["/v1/completions"] = [(status, error)]
            tab.locator("#text").fill("Ay")
            tab.keyboard.press("Tab")
            wait_for(tab, "#notice p", shown)
            assert written(tab) == "Ay" and tab.locator("#continue").inner_text().startswith("Continue")
        goes_on(tab)
        assert tab.locator("#notice").is_hidden() and len(written(tab)) == 202


@pytest.mark.slow
def test_an_error_in_the_middle_keeps_what_was_written(browser, stub):
    stub.write = lambda _: ["half of ", {"error": {"message": "The server closes.", "code": "closing"}}]
    with page(browser, stub) as tab:
        tab.locator("#text").fill("Ay ")
        tab.keyboard.press("Tab")
        wait_for(tab, "#notice p", "The server closes.")
        until(tab, lambda: written(tab) == "Ay half of ")
        tab.keyboard.press("Control+z")
        assert written(tab) == "Ay "


@pytest.mark.slow
def test_a_server_that_is_gone_is_waited_for(browser, stub):
    with page(browser, stub, expected="ERR_CONNECTION_REFUSED|ERR_EMPTY|ERR_INCOMPLETE|ERR_CONNECTION_RESET") as tab:
        tab.locator("#text").fill("Ay")
        stub.close()
        tab.keyboard.press("Tab")
        wait_for(tab, "#notice p", "The server does not answer.")
        tab.keyboard.type(" me")  # the text can be written all the same
        stub.open()
        wait_for(tab, "#status", "The server answers again.")
        assert tab.locator("#notice").is_hidden()
        goes_on(tab)
        assert written(tab).startswith("Ay me") and len(written(tab)) == 205
        stub.write = lambda _: ["half of ", None]  # it breaks off
        tab.keyboard.press("Tab")
        wait_for(tab, "#status", "The server answers again.")
        until(tab, lambda: written(tab).endswith("half of "))


@pytest.mark.slow
def test_the_token_is_asked_for_once(browser, stub):
    stub.token = "open sesame"
    with opened(browser, stub.address, expected="status of 401") as tab:
        tab.locator("#token").fill("wrong")
        tab.keyboard.press("Enter")
        wait_for(tab, "#door-said", "was not accepted")
        tab.locator("#door-close").click()
        wait_for(tab, "#notice p", "only those who have its token")
        tab.get_by_role("button", name="Enter the token").click()
        tab.locator("#token").fill("open sesame")
        tab.get_by_role("button", name="Go in").click()
        tab.locator("#model option").first.wait_for(state="attached")
        tab.locator("#text").focus()
        goes_on(tab)
        tab.reload()
        tab.locator("#model option").first.wait_for(state="attached")
        assert not tab.locator("#door").is_visible()
        assert "sesame" not in tab.content() and tab.evaluate("localStorage.length") == 0


def test_hostile_text_is_only_text(browser, stub):
    stub.write = lambda _: [HOSTILE]
    with page(browser, stub, expected="status of 400") as tab:
        tab.locator("#model").select_option("anything")
        for versions in ("1", "2"):
            tab.locator("#versions").select_option(versions)
            tab.locator("#text").fill(HOSTILE)
            goes_on(tab)
        tab.keyboard.press("1")
        stub.refusals["/v1/completions"] = [(400, {"message": HOSTILE, "code": HOSTILE})]
        tab.locator("#versions").select_option("1")
        tab.locator("#text").press("Tab")
        wait_for(tab, "#notice p", HOSTILE)
        assert HOSTILE in written(tab) and tab.locator("img, main script, #choices img").count() == 0
        assert tab.evaluate("window.hacked") is None


@pytest.mark.slow
def test_a_reload_loses_nothing(browser, stub):
    with page(browser, stub) as tab:
        tab.locator("#text").focus()
        tab.keyboard.type("Ay me")
        goes_on(tab)
        tab.get_by_label("Colour by surprise").check()
        tab.locator("#model").select_option("anything")
        before, its = written(tab), marked(tab)
        tab.reload()
        tab.locator("#model option").first.wait_for(state="attached")
        assert written(tab) == before and marked(tab) == its
        assert tab.locator("#surprise").is_checked() and tab.locator("#model").input_value() == "anything"
        tab.locator("#text").focus()
        tab.keyboard.press("Control+z")
        assert written(tab) == "Ay me"


@pytest.mark.slow
def test_copy_and_save(browser, stub):
    with page(browser, stub, permissions=["clipboard-read", "clipboard-write"]) as tab:
        tab.locator("#text").fill("O Romeo, Romeo!\nWherefore? 😀")
        tab.get_by_role("button", name="Copy").click()
        wait_for(tab, "#status", "Copied.")
        assert tab.evaluate("navigator.clipboard.readText()") == written(tab)
        with tab.expect_download() as download:
            tab.locator("#text").press("Control+s")
        assert download.value.suggested_filename == "o-romeo-romeo-wherefore.txt"
        assert download.value.path().read_text(encoding="utf-8") == written(tab)


@pytest.mark.slow
def test_a_phone_shows_all_of_it_and_nothing_is_wider_than_the_screen(browser, stub):
    narrow = "document.documentElement.scrollWidth <= innerWidth && innerWidth === 390"
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
    """axe-core finds no breach of WCAG 2 AA, contrast among it, in any state of the page."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()

    def check(tab):
        found = axe.run(tab, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]})
        assert found.violations_count == 0, found.generate_report()

    with page(browser, stub, bypass_csp=True, **options) as tab:
        check(tab)
        tab.locator("#text").fill("Ay me é")
        tab.locator("#text").press("Tab")
        check(tab)  # with a notice
        tab.get_by_role("button", name="Write them plainly").click()
        wait_for(tab, "#status", "seed")
        tab.locator("#guesses button").first.wait_for()
        tab.get_by_label("Colour by surprise").check()
        check(tab)
        tab.get_by_label("Colour by surprise").uncheck()
        if tab.locator("#more").is_visible():
            tab.locator("#more").click()
            check(tab)
        tab.locator("#versions").select_option("3")
        tab.keyboard.press("Escape")
        tab.locator("#continue").click()
        wait_for(tab, "#status", "3 versions")
        check(tab)


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


@pytest.fixture(scope="module")
def real():
    """The server itself, with the bundled model."""
    pytest.importorskip("charloom.serve.app", exc_type=ImportError)
    command = [sys.executable, "-m", "charloom", "serve", "--port", "0", "--token", "sesame"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        yield next(found[0] for line in process.stderr if (found := re.search(r"http://[0-9.:]+", line)))
        process.terminate()


@pytest.mark.slow
def test_a_session_with_the_real_server(browser, real):
    import charloom

    model, begun = charloom.load("shakespeare"), "NURSE:\nWhat lantern shall I carry"
    with opened(browser, real, expected="status of 401") as tab:
        tab.locator("#token").fill("sesame")
        tab.keyboard.press("Enter")
        wait_for(tab, "#model", "trained on")
        tab.locator("#text").fill(begun)
        tab.locator("#seed").fill("5")
        tab.locator("#text").focus()
        goes_on(tab)
        text = model.generate(begun, length=200, temperature=0.8, seed=5)
        assert written(tab) == text
        tab.get_by_label("Colour by surprise").check()
        until(tab, lambda: any(marked(tab, f"bits{level}") for level in range(1, 8)))
        costs = [0, *model.score(text).surprisals[1 - len(text) :]]
        for level in range(1, 8):
            assert "".join(marked(tab, f"bits{level}")) == costing(level, text, costs)
        likeliest = model.top_guesses(text).characters[-1][0]
        tab.locator("#text").focus()
        tab.locator("#guesses:not(.paused) button").first.wait_for()
        tab.keyboard.press("Alt+1")
        until(tab, lambda: written(tab) == text + likeliest)
        tab.keyboard.press("Control+z")
        tab.locator("#versions").select_option("3")
        tab.locator("#text").focus()
        tab.keyboard.press("Tab")
        wait_for(tab, "#status", "3 versions")
        tab.keyboard.press("3")
        assert written(tab) == model.generate(text, length=200, temperature=0.8, seed=7)
