"""The playground and its server: errors, reconnecting, access tokens, hostile text, and the real server."""

import pytest

from support.browser import HOSTILE, opened
from support.playground import (
    characters_at_level,
    editor_text,
    highlighted,
    playground_page,
    press_and_wait,
    wait_for_notice,
    wait_for_status,
    wait_for_text,
    wait_until,
)
from support.server import server_process


@pytest.mark.slow
def test_server_errors_are_shown(browser, stub):
    with playground_page(browser, stub, expected="status of (400|429|500)") as tab:
        for status, error, shown in (
            (400, {"message": "Too hot by 3.", "code": "x"}, "Too hot by 3."),
            (429, {"message": "Too many requests.", "code": "busy"}, "Too many requests. Try again in 2 s."),
            (500, None, "500"),
        ):
            stub.errors["/v1/completions"] = [(status, error)]
            tab.locator("#text").fill("Ay")
            tab.keyboard.press("Tab")
            wait_for_text(tab, "#notice p", shown)
            assert editor_text(tab) == "Ay" and tab.locator("#continue").inner_text().startswith("Continue")
        press_and_wait(tab)
        assert tab.locator("#notice").is_hidden() and len(editor_text(tab)) == 202


@pytest.mark.slow
def test_an_error_while_streaming_keeps_the_received_text(browser, stub):
    stub.generate = lambda _: ["half of ", {"error": {"message": "The server closes.", "code": "closing"}}]
    with playground_page(browser, stub) as tab:
        tab.locator("#text").fill("Ay ")
        tab.keyboard.press("Tab")
        wait_for_text(tab, "#notice p", "The server closes.")
        wait_until(tab, lambda: editor_text(tab) == "Ay half of ")
        tab.keyboard.press("Control+z")
        assert editor_text(tab) == "Ay "


@pytest.mark.slow
def test_an_unreachable_server_is_retried(browser, stub):
    with playground_page(
        browser, stub, expected="ERR_CONNECTION_REFUSED|ERR_EMPTY|ERR_INCOMPLETE|ERR_CONNECTION_RESET"
    ) as tab:
        tab.locator("#text").fill("Ay")
        stub.stop()
        tab.keyboard.press("Tab")
        wait_for_notice(tab, "unreachable")
        tab.keyboard.type(" me")  # the text can still be edited
        stub.start()
        wait_for_status(tab, "reconnected")
        assert tab.locator("#notice").is_hidden()
        press_and_wait(tab)
        assert editor_text(tab).startswith("Ay me") and len(editor_text(tab)) == 205
        stub.generate = lambda _: ["half of ", None]  # the connection is lost
        tab.keyboard.press("Tab")
        wait_for_status(tab, "reconnected")
        wait_until(tab, lambda: editor_text(tab).endswith("half of "))


@pytest.mark.slow
def test_the_token_is_requested_once(browser, stub):
    stub.token = "open sesame"
    with opened(browser, stub.address, expected="status of 401") as tab:
        tab.locator("#token").fill("wrong")
        tab.keyboard.press("Enter")
        tab.locator("#token-dialog[data-rejected=true]").wait_for()
        tab.locator("#token-cancel").click()
        wait_for_notice(tab, "no_token")
        tab.get_by_role("button", name="Enter the token").click()
        tab.locator("#token").fill("open sesame")
        tab.get_by_role("button", name="Sign in").click()
        tab.locator("#model option").first.wait_for(state="attached")
        tab.locator("#text").focus()
        press_and_wait(tab)
        tab.reload()
        tab.locator("#model option").first.wait_for(state="attached")
        assert not tab.locator("#token-dialog").is_visible()
        assert "sesame" not in tab.content() and tab.evaluate("localStorage.length") == 0


def test_hostile_text_is_only_text(browser, stub):
    stub.generate = lambda _: [HOSTILE]
    with playground_page(browser, stub, expected="status of 400") as tab:
        tab.locator("#model").select_option("anything")
        for versions in ("1", "2"):
            tab.locator("#versions").select_option(versions)
            tab.locator("#text").fill(HOSTILE)
            press_and_wait(tab)
        tab.keyboard.press("1")
        stub.errors["/v1/completions"] = [(400, {"message": HOSTILE, "code": HOSTILE})]
        tab.locator("#versions").select_option("1")
        tab.locator("#text").press("Tab")
        wait_for_text(tab, "#notice p", HOSTILE)
        assert HOSTILE in editor_text(tab) and tab.locator("img, main script, #choices img").count() == 0
        assert tab.evaluate("window.hacked") is None


@pytest.fixture(scope="module")
def real():
    """The address of charloom's server with the bundled model."""
    pytest.importorskip("charloom.serve.app", exc_type=ImportError)
    with server_process("--token", "sesame") as address:
        yield address


@pytest.mark.slow
def test_a_session_with_the_real_server(browser, real):
    import charloom

    model, prompt = charloom.load("shakespeare"), "NURSE:\nWhat lantern shall I carry"
    with opened(browser, real, expected="status of 401") as tab:
        tab.locator("#token").fill("sesame")
        tab.keyboard.press("Enter")
        tab.locator("#model option").first.wait_for(state="attached")
        tab.locator("#text").fill(prompt)
        tab.locator("#seed").fill("5")
        tab.locator("#text").focus()
        press_and_wait(tab)
        text = model.generate(prompt, length=200, temperature=0.8, seed=5)
        assert editor_text(tab) == text
        tab.get_by_label("Color by surprisal").check()
        wait_until(tab, lambda: any(highlighted(tab, f"bits{level}") for level in range(1, 8)))
        surprisals = [0, *model.score(text).surprisals[1 - len(text) :]]
        for level in range(1, 8):
            assert "".join(highlighted(tab, f"bits{level}")) == characters_at_level(level, text, surprisals)
        top_prediction = model.top_guesses(text).characters[-1][0]
        tab.locator("#text").focus()
        tab.locator("#predictions:not(.paused) button").first.wait_for()
        tab.keyboard.press("Alt+1")
        wait_until(tab, lambda: editor_text(tab) == text + top_prediction)
        tab.keyboard.press("Control+z")
        tab.locator("#versions").select_option("3")
        tab.locator("#text").focus()
        tab.keyboard.press("Tab")
        wait_for_status(tab, "choosing", versions=3)
        tab.keyboard.press("3")
        assert editor_text(tab) == model.generate(text, length=200, temperature=0.8, seed=7)
