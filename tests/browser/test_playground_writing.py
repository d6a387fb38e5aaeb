"""Writing in the playground in a real browser: what is typed, what the model adds, and what both may change."""

import re

import pytest

from charloom.web.playground import playground_files
from support.playground import LETTERS, bits, costing, goes_on, marked, page, until, wait_for, woven, written


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
        for asked in re.findall(r'(?:from|src=|href=) ?"(?:\./|playground/)([a-z_.]+)"', text):
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
