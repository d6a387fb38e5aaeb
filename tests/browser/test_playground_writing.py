"""Typing and generating text in the playground in a real browser."""

import re

import pytest

from charloom.web.playground import playground_files
from support.playground import (
    VOCABULARY,
    characters_at_level,
    editor_text,
    highlighted,
    playground_page,
    press_and_wait,
    status_data,
    stub_surprisals,
    stub_text,
    wait_for_notice,
    wait_for_status,
    wait_until,
)


def test_the_files_have_content_types_and_no_external_references():
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
        for reference in re.findall(r'(?:from|src=|href=) ?"(?:\./|playground/)([a-z_.]+)"', text):
            assert f"/playground/{reference}" in files


def test_tab_continues_the_text_at_the_cursor(browser, stub):
    with playground_page(browser, stub) as tab:
        tab.locator("#text").fill("To be, or")
        press_and_wait(tab)
        request = stub.last_request("/v1/completions")
        assert request == {"model": "shakespeare", "prompt": "To be, or", "max_tokens": 200, "temperature": 0.8,
                         "top_p": 1, "seed": request["seed"], "stream": True}  # fmt: skip
        assert editor_text(tab) == "To be, or" + stub_text(request["seed"], 200)
        assert highlighted(tab) == [stub_text(request["seed"], 200)]
        wait_for_status(tab, "done", characters=200, seed=request["seed"])
        assert "209 characters, 4 %" in tab.locator("#count").inner_text()
        tab.locator("#text").press("Control+Home")
        for _ in range(6):
            tab.keyboard.press("ArrowRight")
        press_and_wait(tab)
        assert stub.last_request("/v1/completions")["prompt"] == "To be,"
        assert editor_text(tab).startswith("To be,") and editor_text(tab)[206:209] == " or"


def test_a_seed_gives_the_same_text_again(browser, stub):
    with playground_page(browser, stub) as tab:
        tab.locator("#text").fill("Ay")
        press_and_wait(tab)
        first, seed = editor_text(tab), stub.last_request("/v1/completions")["seed"]
        tab.locator("#reuse-seed").click()
        assert tab.locator("#seed").input_value() == str(seed)
        tab.locator("#text").fill("Ay")
        press_and_wait(tab)
        assert editor_text(tab) == first and stub.last_request("/v1/completions")["seed"] == seed
        press_and_wait(tab, "Control+Enter")  # always uses another seed
        assert (
            stub.last_request("/v1/completions")["seed"] != seed
            and stub.last_request("/v1/completions")["prompt"] == "Ay"
        )
        assert len(editor_text(tab)) == len(first) and editor_text(tab) != first
        tab.keyboard.press("Control+z")
        assert editor_text(tab) == first


@pytest.mark.slow
def test_escape_stops_generating_and_aborts_the_request(browser, stub):
    stub.delay = 0.03
    with playground_page(browser, stub) as tab:
        tab.locator("#length").fill("5000")
        tab.locator("#text").fill("Ay")
        tab.keyboard.press("Tab")
        assert tab.get_by_role("button", name="Stop").is_visible()
        wait_until(tab, lambda: len(editor_text(tab)) > 20)
        tab.keyboard.press("Escape")
        wait_for_status(tab, "stopped")
        stopped = editor_text(tab)
        wait_until(tab, lambda: stub.aborted == 1)
        assert editor_text(tab) == stopped and 20 < len(stopped) < 4000
        assert status_data(tab, "characters") == str(len(stopped) - 2)


@pytest.mark.slow
def test_typing_stops_generating(browser, stub):
    stub.delay = 0.03
    with playground_page(browser, stub) as tab:
        tab.locator("#text").fill("Ay")
        tab.keyboard.press("Tab")
        wait_until(tab, lambda: len(editor_text(tab)) > 20)
        tab.keyboard.type("!?")
        wait_until(tab, lambda: stub.aborted == 1)
        generated = highlighted(tab)[0]
        assert editor_text(tab) == "Ay" + generated + "!?"
        tab.keyboard.press("Control+z")
        assert editor_text(tab) == "Ay" + generated
        tab.keyboard.press("Control+z")
        assert editor_text(tab) == "Ay"


@pytest.mark.slow
def test_escape_then_tab_leaves_the_editor(browser, stub):
    with playground_page(browser, stub) as tab:
        tab.locator("#predictions button").first.wait_for()  # the next focusable elements
        tab.locator("#text").focus()
        tab.keyboard.press("Escape")
        wait_for_status(tab, "tab_leaves")
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.id") != "text" and stub.request_count("/v1/completions") == 0
        tab.keyboard.press("Shift+Tab")
        assert tab.evaluate("document.activeElement.id") == "text"
        tab.keyboard.press("Shift+Tab")
        assert tab.evaluate("document.activeElement.id") == "surprisal"


@pytest.mark.slow
def test_a_continuation_replaces_the_selection(browser, stub):
    with playground_page(browser, stub) as tab:
        tab.locator("#text").fill("Ay me, what now")
        tab.locator("#length").fill("5")
        tab.evaluate("document.getElementById('text').setSelectionRange(3, 5)")
        tab.locator("#text").focus()
        press_and_wait(tab)
        five = stub_text(stub.last_request("/v1/completions")["seed"], 5)
        assert editor_text(tab) == f"Ay {five}, what now" and stub.last_request("/v1/completions")["prompt"] == "Ay "
        tab.keyboard.press("Control+z")
        assert editor_text(tab) == "Ay me, what now"
        assert tab.evaluate("[text.selectionStart, text.selectionEnd]") == [3, 5]


@pytest.mark.slow
def test_undo_and_redo_work_by_words_and_restore_authors(browser, stub):
    with playground_page(browser, stub) as tab:
        tab.locator("#length").fill("6")
        tab.locator("#text").focus()
        tab.keyboard.type("one two ")
        press_and_wait(tab)
        model = highlighted(tab)[0]
        tab.keyboard.type("three")
        states = ["", "one ", "one two ", f"one two {model}", f"one two {model}three"]
        for state in reversed(states[:-1]):
            tab.keyboard.press("Control+z")
            assert editor_text(tab) == state
        assert tab.locator("#undo").is_disabled()
        for state in states[1:]:
            tab.keyboard.press("Control+Shift+z")
            assert editor_text(tab) == state
        assert highlighted(tab) == [model] and tab.locator("#redo").is_disabled()
        tab.get_by_role("button", name="Undo").click()
        tab.get_by_role("button", name="Clear").click()
        assert editor_text(tab) == ""
        tab.keyboard.press("Control+z")
        assert editor_text(tab) == states[-2] and highlighted(tab) == [model]


@pytest.mark.slow
def test_characters_typed_within_generated_text_belong_to_the_user(browser, stub):
    stub.generate = lambda _: ["aaaa aaaa"]
    with playground_page(browser, stub) as tab:
        tab.locator("#text").focus()
        press_and_wait(tab)
        for _ in range(3):
            tab.keyboard.press("ArrowLeft")
        tab.keyboard.type("aa")  # equal letters: only the cursor shows which are new
        assert editor_text(tab) == "aaaa aaaaaa" and highlighted(tab) == ["aaaa a", "aaa"]
        tab.keyboard.press("Backspace")
        assert highlighted(tab) == ["aaaa a", "aaa"] and editor_text(tab) == "aaaa aaaaa"


@pytest.mark.slow
def test_surrogate_pairs_are_not_split(browser, stub):
    stub.generate = lambda _: ["a😀", "😀b", "🧵"]
    with playground_page(browser, stub) as tab:
        tab.locator("#model").select_option("anything")
        tab.locator("#text").fill("😀😁")
        press_and_wait(tab)
        assert editor_text(tab) == "😀😁a😀😀b🧵" and highlighted(tab) == ["a😀😀b🧵"]
        assert "7 characters, 29 %" in tab.locator("#count").inner_text()
        assert status_data(tab, "characters") == "5"
        tab.get_by_label("Color by surprisal").check()
        wait_until(tab, lambda: any(highlighted(tab, f"bits{level}") for level in range(1, 8)))
        for level in range(1, 8):
            assert "".join(highlighted(tab, f"bits{level}")) == characters_at_level(
                level, editor_text(tab), stub_surprisals(editor_text(tab))
            )
        tab.locator("#text").press("Control+End")
        for _ in range(2):
            tab.keyboard.press("ArrowLeft")
        tab.keyboard.type("😂")  # has the same first surrogate as its neighbors
        assert editor_text(tab) == "😀😁a😀😀😂b🧵" and highlighted(tab) == ["a😀😀", "b🧵"]


@pytest.mark.slow
def test_line_breaks_are_normalized(browser, stub):
    stub.generate = lambda _: ["a\r", "\nb\r", "c\r\n", "d\r"]
    with playground_page(browser, stub) as tab:
        tab.locator("#text").focus()
        press_and_wait(tab)
        assert editor_text(tab) == "a\nb\nc\nd\n" and "".join(highlighted(tab)) == "abcd"
        tab.keyboard.type("e")
        assert editor_text(tab) == "a\nb\nc\nd\ne" and "".join(highlighted(tab)) == "abcd"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("length", "many", ["Length", "“many”", "1 to 20,000"]),
        ("length", "20001", ["Length", "“20001”", "1 to 20,000"]),
        ("seed", "-1", ["Seed", "“-1”", "from 0 to"]),
        ("stop", "x" * 65, ["Stop sequence", "65", "64"]),
    ],
)
def test_invalid_settings_are_reported(browser, stub, field, value, named):
    with playground_page(browser, stub) as tab:
        tab.locator(f"#{field}").fill(value)
        tab.locator("#text").press("Tab")
        message = wait_for_notice(tab, "invalid_setting")
        assert all(part in message for part in named)
        assert tab.locator(f"#{field}").get_attribute("aria-invalid") == "true"
        assert tab.evaluate("document.activeElement.id") == field and stub.request_count("/v1/completions") == 0
        tab.locator(f"#{field}").fill("3")
        tab.locator("#text").focus()
        press_and_wait(tab)
        assert tab.locator("#notice").is_hidden()


@pytest.mark.slow
def test_settings_are_sent_and_stored(browser, stub):
    with playground_page(browser, stub) as tab:
        for name, value in {
            "temperature": "1.3",
            "top_p": "0.9",
            "length": "12",
            "seed": "4",
            "stop": r"\n\n.",
        }.items():
            tab.locator(f"#{name}").fill(value)
        tab.locator("#text").focus()
        press_and_wait(tab)
        expected = {"model": "shakespeare", "prompt": "", "max_tokens": 12, "temperature": 1.3, "top_p": 0.9, "seed": 4}
        assert stub.last_request("/v1/completions") == {**expected, "stop": ["\n\n."], "stream": True}
        assert tab.locator("output").all_inner_texts() == ["1.30", "0.90"]
        tab.reload()
        assert [tab.locator(f"#{name}").input_value() for name in ("temperature", "length", "stop")] == [
            "1.3",
            "12",
            r"\n\n.",
        ]


@pytest.mark.slow
def test_unknown_characters_are_listed_and_can_be_removed_or_replaced(browser, stub):
    with playground_page(browser, stub) as tab:
        tab.locator("#length").fill("5")
        tab.locator("#text").fill("“Café”—日本")
        tab.keyboard.press("Tab")
        message = wait_for_notice(tab, "unknown_characters")
        assert "shakespeare" in message and str(len(VOCABULARY)) in message
        assert "““” (U+201C), “é” (U+00E9)" in message and "“日” (U+65E5)" in message
        assert stub.request_count("/v1/completions") == 0
        assert not tab.get_by_role("button", name="Replace").is_visible()
        tab.get_by_role("button", name="Remove them").click()
        wait_for_status(tab, "done")
        assert stub.last_request("/v1/completions")["prompt"] == "Caf"
        tab.locator("#text").fill("d’être—là")
        tab.keyboard.press("Tab")
        tab.get_by_role("button", name="Replace ’ → ', ê → e").click()
        wait_until(tab, lambda: stub.last_request("/v1/completions")["prompt"] == "d'etre--la")
        wait_for_status(tab, "done")
        tab.keyboard.press("Control+z")
        tab.keyboard.press("Control+z")
        assert editor_text(tab) == "d’être—là"


@pytest.mark.slow
def test_a_reload_restores_everything(browser, stub):
    with playground_page(browser, stub) as tab:
        tab.locator("#text").focus()
        tab.keyboard.type("Ay me")
        press_and_wait(tab)
        tab.get_by_label("Color by surprisal").check()
        tab.locator("#model").select_option("anything")
        before, generated = editor_text(tab), highlighted(tab)
        tab.reload()
        tab.locator("#model option").first.wait_for(state="attached")
        assert editor_text(tab) == before and highlighted(tab) == generated
        assert tab.locator("#surprisal").is_checked() and tab.locator("#model").input_value() == "anything"
        tab.locator("#text").focus()
        tab.keyboard.press("Control+z")
        assert editor_text(tab) == "Ay me"


@pytest.mark.slow
def test_copy_and_save(browser, stub):
    with playground_page(browser, stub, permissions=["clipboard-read", "clipboard-write"]) as tab:
        tab.locator("#text").fill("O Romeo, Romeo!\nWherefore? 😀")
        tab.get_by_role("button", name="Copy").click()
        wait_for_status(tab, "copied")
        assert tab.evaluate("navigator.clipboard.readText()") == editor_text(tab)
        with tab.expect_download() as download:
            tab.locator("#text").press("Control+s")
        assert download.value.suggested_filename == "o-romeo-romeo-wherefore.txt"
        assert download.value.path().read_text(encoding="utf-8") == editor_text(tab)
