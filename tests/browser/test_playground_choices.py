"""Versions side by side and top predictions in the playground."""

import pytest

from support.playground import (
    PREDICTIONS,
    editor_text,
    highlighted,
    playground_page,
    press_and_wait,
    stub_text,
    wait_for_status,
    wait_until,
)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["key", "click", "button"])
def test_accept_one_of_several_versions(browser, stub, method):
    with playground_page(browser, stub) as tab:
        tab.locator("#versions").select_option("3")
        tab.locator("#seed").fill("50")
        tab.locator("#text").fill("Ay me")
        press_and_wait(tab)
        texts = tab.locator(".choice .prose").all_text_contents()
        assert texts == [stub_text(50 + i, 200) for i in range(3)] and editor_text(tab) == "Ay me"
        if method == "key":
            tab.keyboard.press("2")
        elif method == "click":
            tab.locator(".choice .prose").nth(1).click()
        else:
            tab.get_by_role("button", name="Accept version 2").press("Enter")
        assert editor_text(tab) == "Ay me" + stub_text(51, 200) and tab.locator("#choices").is_hidden()
        wait_for_status(tab, "done", seed=51)
        assert tab.evaluate("document.activeElement.id") == "text"
        tab.keyboard.type("2")
        assert editor_text(tab).endswith("2")
        tab.keyboard.press("Control+z")
        tab.keyboard.press("Control+z")
        assert editor_text(tab) == "Ay me"


@pytest.mark.slow
def test_accepting_a_streaming_version_continues_it_in_the_editor(browser, stub):
    stub.delay = 0.03
    with playground_page(browser, stub) as tab:
        tab.locator("#versions").select_option("4")
        tab.locator("#seed").fill("7")
        tab.locator("#text").fill("Ay me")
        tab.keyboard.press("Tab")
        wait_until(tab, lambda: len(tab.locator(".choice .prose").nth(3).text_content()) > 30)
        tab.keyboard.press("4")
        wait_until(tab, lambda: stub.aborted == 3)
        wait_for_status(tab, "done", characters=200, seed=10)
        assert editor_text(tab) == "Ay me" + stub_text(10, 200)


@pytest.mark.slow
def test_versions_can_be_replaced_and_discarded(browser, stub):
    with playground_page(browser, stub) as tab:
        tab.locator("#versions").select_option("2")
        tab.locator("#text").fill("Ay me")
        press_and_wait(tab)
        tab.keyboard.type("xyz")  # the editor is read-only while versions are shown
        assert editor_text(tab) == "Ay me"
        seed = stub.last_request("/v1/completions")["seed"]
        tab.keyboard.press("Control+Enter")
        wait_until(tab, lambda: stub.request_count("/v1/completions") == 4)
        assert stub.last_request("/v1/completions")["seed"] != seed
        wait_for_status(tab, "choosing", versions=2)
        tab.keyboard.press("Escape")
        wait_for_status(tab, "discarded")
        assert tab.locator("#choices").is_hidden() and editor_text(tab) == "Ay me"
        tab.keyboard.type("!")
        assert editor_text(tab) == "Ay me!"


@pytest.mark.slow
def test_top_predictions_follow_the_cursor_and_can_be_inserted(browser, stub):
    with playground_page(browser, stub) as tab:
        tab.locator("#text").fill("The que")
        wait_until(tab, lambda: stub.request_count("/guesses") and stub.last_request("/guesses")["text"] == "The que")
        assert stub.last_request("/guesses") == {"model": "shakespeare", "text": "The que", "k": 5}
        rows = tab.locator("#predictions button")
        wait_until(tab, lambda: rows.count() == len(PREDICTIONS) and rows.first.inner_text())
        assert rows.first.inner_text().split() == ["e", "41", "%"]
        assert rows.nth(2).get_attribute("aria-label") == "new line, 10 percent"
        tab.keyboard.press("Home")
        tab.keyboard.press("ArrowRight")
        wait_until(tab, lambda: stub.last_request("/guesses")["text"] == "T")
        tab.keyboard.press("Alt+1")
        tab.keyboard.press("Alt+3")  # before the server has answered: inserted when the answer arrives
        wait_until(tab, lambda: editor_text(tab) == "Te\nhe que")
        assert highlighted(tab) == ["e"]
        wait_until(tab, lambda: stub.last_request("/guesses")["text"] == "Te\n")
        rows.nth(1).click()
        wait_until(tab, lambda: editor_text(tab) == "Te\n he que")
        assert tab.evaluate("document.activeElement.id") == "text"
