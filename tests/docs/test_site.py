"""The site is built without a warning, loads nothing from elsewhere, has no dead link, and can be read by all."""

import os
import re
import subprocess
import sys
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urldefrag, urljoin

import click
import pytest

import charloom
from charloom.cli.main import COMMANDS, group
from support.browser import DESKTOP, PHONE, check_accessibility, opened
from support.paths import ROOT

pytestmark = pytest.mark.slow
MOST_BYTES = 600_000  # of the front page with all that it loads
MADE_BY_SPHINX = {"genindex.html", "py-modindex.html", "search.html"}


class Page(HTMLParser):
    """What a page holds: its anchors, where its links lead, and what is loaded to show it."""

    def __init__(self, text):
        super().__init__()
        self.anchors, self.links, self.loads, self.style = {""}, set(), set(), False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.style = tag == "style"
        for name, value in attributes:
            if name == "id":
                self.anchors.add(value)
            elif (tag, name) == ("a", "href"):
                self.links.add(value)
            elif name in ("src", "srcset", "data", "poster") or (name == "href" and tag not in ("a", "use")):
                self.loads.add(value)
            elif name == "style":
                self.loads |= addresses(value)

    def handle_data(self, data):
        if self.style:
            self.loads |= addresses(data)


def addresses(css):
    """Everything that a style loads."""
    found = re.findall(r"url\(\s*['\"]?([^'\")]+)", css) + re.findall(r"@import\s+['\"]([^'\"]+)", css)
    return set(found)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; a warning is an error."""
    pytest.importorskip("sphinx_click")
    folder = tmp_path_factory.mktemp("site")
    options = ["--fail-on-warning", "--keep-going", "--quiet", "-d", str(folder / "doctrees")]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(ROOT / "docs"), str(folder / "html")],
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def pages(site):
    return {path.relative_to(site).as_posix(): Page(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}


def within(page, link):
    """Where a link of a page leads within the site: (file, anchor); None if to another place."""
    target, anchor = urldefrag(link)
    if target.startswith(("http:", "https:", "//", "data:", "mailto:")):
        return None
    return unquote(urljoin(page, target)) if target else page, unquote(anchor)


def test_every_link_leads_somewhere(site, pages):
    looked_at, broken = 0, []
    for name, page in pages.items():
        for link in page.links | page.loads:
            where = within(name, link)
            if where is None:
                assert link.startswith(("https://", "data:", "http://127.0.0.1", "http://localhost")), (name, link)
                continue
            path, anchor = where[0].partition("?")[0], where[1]
            looked_at += 1
            if not (site / path).is_file() or (path in pages and anchor not in pages[path].anchors):
                broken.append((name, link))
    assert broken == [] and looked_at > 1000


def test_every_page_can_be_reached_from_the_first(pages):
    reached, waiting = set(), ["index.html"]
    while waiting:
        name = waiting.pop()
        if name in reached or name not in pages:
            continue
        reached.add(name)
        waiting += [where[0] for link in pages[name].links if (where := within(name, link))]
    assert reached | MADE_BY_SPHINX == set(pages)
    documents = {
        path.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for path in (ROOT / "docs").rglob("*.md")
    }
    assert documents <= reached


def test_nothing_is_loaded_from_elsewhere(site, pages):
    loaded = [(name, load) for name, page in pages.items() for load in page.loads]
    loaded += [(path.name, load) for path in site.rglob("*.css") for load in addresses(path.read_text("utf-8"))]
    assert len(loaded) > 200
    assert [one for one in loaded if within("", one[1]) is None and not one[1].startswith("data:")] == []


def test_what_loads_is_seen():
    style = '<style>@import "d"; p {background: url("e")}</style>'
    page = Page(f'<link href="//a/x"><img src="b"><p style="background:url(c)">{style}')
    assert page.loads == {"//a/x", "b", "c", "d", "e"} and within("", "//a/x") is None


def test_the_references_have_all_there_is(pages):
    python, commands = pages["reference/python.html"].anchors, pages["reference/commands.html"].anchors
    for name in set(charloom.__all__) - {"__version__"}:
        assert {f"charloom.{name}", f"charloom.errors.{name}"} & python, name
    for name in COMMANDS:
        parameters = group.get_command(None, name).params
        shown = [one for one in parameters if isinstance(one, click.Option) and not one.hidden]
        options = [option for one in shown for option in one.opts]
        anchors = {f"cmdoption-charloom-{name}-{option.lstrip('-')}" for option in options}
        assert options and anchors <= commands


class Quiet(SimpleHTTPRequestHandler):
    """A server of files that writes no log."""

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address(site):
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.parametrize(
    "page", ["index.html", "reference/format.html", "reference/commands.html", "tutorial/zh.html", "results.html"]
)
@pytest.mark.parametrize(("viewport", "theme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone"])
def test_it_can_be_read_by_everybody(browser, address, page, viewport, theme):
    """And a phone need not be scrolled sideways."""
    with opened(browser, address, page=page, viewport=viewport, color_scheme=theme) as tab:
        check_accessibility(tab)
        assert tab.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


def test_the_front_page_is_small(browser, address, capsys):
    with opened(browser, address, page="index.html") as tab:
        figures = tab.evaluate("""() => {
            const [page] = performance.getEntriesByType("navigation"), rest = performance.getEntriesByType("resource");
            return {bytes: [page, ...rest].reduce((sum, one) => sum + one.decodedBodySize, 0),
                    requests: 1 + rest.length, loaded: page.loadEventEnd}; }""")
    with capsys.disabled():
        print(f"\nthe front page: {figures}")
    assert 100_000 < figures["bytes"] < MOST_BYTES and figures["requests"] < 20  # the time is the machine's
