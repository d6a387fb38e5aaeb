"""The playground opened in a tab, against the stub of its server: what its tests do and see there."""

import re
from contextlib import contextmanager

import pytest

from browsing import opened
from playground_stub import Stub


@pytest.fixture
def stub():
    server = Stub()
    yield server
    server.close()


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
