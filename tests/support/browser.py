"""Pages in Chromium, driven by Playwright, for all tests that look at one; where either is missing, they skip."""

import re
import shutil
from contextlib import contextmanager

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 740}
PHONE_OPTIONS = {"viewport": PHONE, "has_touch": True, "is_mobile": True}
HOSTILE = '<script>window.hacked=1</script><img src=x onerror="window.hacked=1">'


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: make browser")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: make browser")
    with playwright.sync_playwright() as started:
        yield started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


@contextmanager
def opened(browser, address, *, page="", expected=None, first=None, offline=False, viewport=DESKTOP, **options):
    """Open a page; afterwards there must have been no error and no request to anywhere else.

    ``address`` is that of a server or of a file, and ``page`` a page of that server; ``expected`` matches the messages
    that may come all the same, ``first`` is a script that runs before the page's own, and ``options`` are those of
    Playwright's ``new_context``.
    """
    context = browser.new_context(viewport=viewport, **options)
    context.set_offline(offline)
    if first:
        context.add_init_script(first)
    tab, wrong = context.new_page(), []
    tab.set_default_timeout(40_000)
    own = (address, "data:", "blob:")
    tab.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("request", lambda request: None if request.url.startswith(own) else wrong.append(request.url))
    try:
        tab.goto(address + page)
        yield tab
    except Exception as failure:
        failure.add_note(f"The page said: {wrong}")
        raise
    finally:
        context.close()
    assert [message for message in wrong if not (expected and re.search(expected, message))] == []


def check_for_everybody(tab):
    """axe-core finds no breach of WCAG 2 AA, contrast among it; the page's policy must be off (``bypass_csp``)."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(tab, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]})
    assert found.violations_count == 0, found.generate_report()
