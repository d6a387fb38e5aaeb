"""Pages in Chromium, driven by Playwright. Tests that use them skip if either is not installed."""

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
    """Open a page in a new tab. Afterwards, check that it logged no error and made no request to another address.

    Args:
        browser: The browser.
        address: Address of a server or of a file.
        page: Path of the page on the server.
        expected: Regular expression for console messages that are allowed.
        first: A script that runs before the page's own scripts.
        offline: Whether the network is off.
        viewport: Size of the window.
        options: Options of Playwright's ``new_context``.
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
        failure.add_note(f"Console messages and foreign requests: {wrong}")
        raise
    finally:
        context.close()
    assert [message for message in wrong if not (expected and re.search(expected, message))] == []


def check_for_everybody(tab):
    """Check with axe-core that a page meets WCAG 2 AA. The page's content security policy must be off."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    result = axe.run(tab, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]})
    assert result.violations_count == 0, result.generate_report()
