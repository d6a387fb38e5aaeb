"""The playground and its server: refusals, a server that is gone, a token, hostile text; and the real one."""

import pytest

from support.browser import HOSTILE, opened
from support.playground import costing, goes_on, marked, page, until, wait_for, written
from support.server import server_process


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


@pytest.fixture(scope="module")
def real():
    """The server itself, with the bundled model."""
    pytest.importorskip("charloom.serve.app", exc_type=ImportError)
    with server_process("--token", "sesame") as address:
        yield address


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
