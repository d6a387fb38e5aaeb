"""The site builds without warnings, has no broken links, loads nothing from other hosts, and is accessible."""

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
MAX_BYTES = 600_000  # of the front page with everything it loads
GENERATED_BY_SPHINX = {"genindex.html", "py-modindex.html", "search.html"}


class Page(HTMLParser):
    """The anchors of a page, the targets of its links, and the files it loads."""

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
    """Return the URLs that a style sheet loads."""
    urls = re.findall(r"url\(\s*['\"]?([^'\")]+)", css) + re.findall(r"@import\s+['\"]([^'\"]+)", css)
    return set(urls)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site. Warnings are errors."""
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
    """Return the target of a link within the site as (file, anchor), or None for other links."""
    target, anchor = urldefrag(link)
    if target.startswith(("http:", "https:", "//", "data:", "mailto:")):
        return None
    return unquote(urljoin(page, target)) if target else page, unquote(anchor)


def test_all_links_resolve(site, pages):
    checked, broken = 0, []
    for name, page in pages.items():
        for link in page.links | page.loads:
            target = within(name, link)
            if target is None:
                assert link.startswith(("https://", "data:", "http://127.0.0.1", "http://localhost")), (name, link)
                continue
            path, anchor = target[0].partition("?")[0], target[1]
            checked += 1
            if not (site / path).is_file() or (path in pages and anchor not in pages[path].anchors):
                broken.append((name, link))
    assert broken == [] and checked > 1000


def test_all_pages_are_reachable_from_the_front_page(pages):
    reached, waiting = set(), ["index.html"]
    while waiting:
        name = waiting.pop()
        if name in reached or name not in pages:
            continue
        reached.add(name)
        waiting += [target[0] for link in pages[name].links if (target := within(name, link))]
    assert reached | GENERATED_BY_SPHINX == set(pages)
    documents = {
        path.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for path in (ROOT / "docs").rglob("*.md")
    }
    assert documents <= reached


def test_site_loads_nothing_from_other_hosts(site, pages):
    loaded = [(name, load) for name, page in pages.items() for load in page.loads]
    loaded += [(path.name, load) for path in site.rglob("*.css") for load in addresses(path.read_text("utf-8"))]
    assert len(loaded) > 200
    assert [(name, url) for name, url in loaded if within("", url) is None and not url.startswith("data:")] == []


def test_page_parser_finds_loaded_files():
    style = '<style>@import "d"; p {background: url("e")}</style>'
    page = Page(f'<link href="//a/x"><img src="b"><p style="background:url(c)">{style}')
    assert page.loads == {"//a/x", "b", "c", "d", "e"} and within("", "//a/x") is None


def test_references_list_all_names_and_options(pages):
    python, commands = pages["reference/python.html"].anchors, pages["reference/commands.html"].anchors
    for name in set(charloom.__all__) - {"__version__"}:
        assert {f"charloom.{name}", f"charloom.errors.{name}"} & python, name
    for name in COMMANDS:
        parameters = group.get_command(None, name).params
        shown = [option for option in parameters if isinstance(option, click.Option) and not option.hidden]
        names = [spelling for option in shown for spelling in option.opts]
        anchors = {f"cmdoption-charloom-{name}-{spelling.lstrip('-')}" for spelling in names}
        assert names and anchors <= commands


class Quiet(SimpleHTTPRequestHandler):
    """A file server without a log."""

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
def test_pages_are_accessible_and_fit_the_screen(browser, address, page, viewport, theme):
    with opened(browser, address, page=page, viewport=viewport, color_scheme=theme) as tab:
        check_accessibility(tab)
        assert tab.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


def test_front_page_is_small(browser, address, capsys):
    with opened(browser, address, page="index.html") as tab:
        figures = tab.evaluate("""() => {
            const [page] = performance.getEntriesByType("navigation"), rest = performance.getEntriesByType("resource");
            return {bytes: [page, ...rest].reduce((sum, one) => sum + one.decodedBodySize, 0),
                    requests: 1 + rest.length, loaded: page.loadEventEnd}; }""")
    with capsys.disabled():
        print(f"\nthe front page: {figures}")
    assert (
        100_000 < figures["bytes"] < MAX_BYTES and figures["requests"] < 20
    )  # the loading time depends on the machine
