"""What the playground offers to choose from: several versions side by side, and guesses of the next character."""

import pytest

from support.playground import GUESSES, goes_on, marked, page, until, wait_for, woven, written


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
