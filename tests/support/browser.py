"""Open pages in Chromium with Playwright. Tests that need it are skipped if either is not installed."""

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
    """Open a page. On exit, check that it logged no errors or warnings and sent no requests to other addresses.

    Args:
        browser: The browser.
        address: URL of a server or a file.
        page: Path of a page on the server.
        expected: Regular expression for messages that are allowed.
        first: A script that runs before the page's scripts.
        offline: Whether the network is unavailable.
        viewport: Size of the window.
        options: Further options of Playwright's ``new_context``.
    """
    context = browser.new_context(viewport=viewport, **options)
    context.set_offline(offline)
    if first:
        context.add_init_script(first)
    tab, problems = context.new_page(), []
    tab.set_default_timeout(40_000)
    own = (address, "data:", "blob:")
    tab.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("request", lambda request: None if request.url.startswith(own) else problems.append(request.url))
    try:
        tab.goto(address + page)
        yield tab
    except Exception as failure:
        failure.add_note(f"Messages and requests of the page: {problems}")
        raise
    finally:
        context.close()
    assert [message for message in problems if not (expected and re.search(expected, message))] == []


def check_accessibility(tab):
    """Check with axe-core that the page meets WCAG 2 AA, including contrast. Needs the option ``bypass_csp``."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    results = axe.run(tab, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]})
    assert results.violations_count == 0, results.generate_report()
