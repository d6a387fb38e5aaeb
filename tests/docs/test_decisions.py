"""The decision records: their structure, their index, and the links to them."""

import re

import pytest

from support.paths import ROOT

FOLDER = ROOT / "docs" / "decisions"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.name != "index.md")
STATUS = re.compile(r"(accepted|superseded by \[|experiment, )")
MAX_LINES = 25


def slug(title):
    """Return the anchor of a heading, as MyST and GitHub generate it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def records(path):
    """Return the records of a page: {title: text}."""
    parts = re.split(r"^## (.+)$", path.read_text(encoding="utf-8"), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_records_have_four_parts_and_are_short(path):
    assert records(path)
    for title, text in records(path).items():
        status, *parts = re.findall(r"^\*\*(\w+)\*\*: ", text, re.M)
        assert status == "Status" and STATUS.match(text.split("**Status**: ")[1]), title
        superseded = "**Status**: superseded" in text
        assert parts == (["Context"] if superseded else ["Context", "Decision", "Evidence"]), title
        assert len(text.strip().splitlines()) + 2 <= MAX_LINES, title


def test_index_lists_all_records_in_order():
    index = (FOLDER / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\|[^|]*\| \[([^\]]+)\]\(([\w-]+\.md)#([^)]+)\) \|", index, re.M)
    pages = re.search(r"```{toctree}\n:hidden:\n\n(.+?)\n```", index, re.S)[1].split()
    assert sorted(pages) == sorted(path.stem for path in PAGES)
    assert listed == [(title, f"{page}.md", slug(title)) for page in pages for title in records(FOLDER / f"{page}.md")]


def test_links_to_records_resolve():
    anchors = {path.name: {slug(title) for title in records(path)} for path in PAGES}
    folders = [ROOT / name for name in ("benchmarks", "docs", "examples", "native", "src", "tests")]
    files = [*ROOT.glob("*.md"), *(path for folder in folders for path in folder.rglob("*"))]
    links = 0
    for path in files:
        if path.suffix in {".cpp", ".h", ".js", ".md", ".py"}:
            for page, anchor in re.findall(r"decisions/([\w-]+\.md)#([\w-]+)", path.read_text(encoding="utf-8")):
                assert anchor in anchors[page], f"{path}: {page}#{anchor}"
                links += 1
    assert links
    for path in PAGES:
        for page, anchor in re.findall(r"\]\(([\w-]+\.md)?#([^)]+)\)", path.read_text(encoding="utf-8")):
            assert page == "index.md" or anchor in anchors[page or path.name], f"{path.name}: {page}#{anchor}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_files_named_in_records_exist(path):
    text = path.read_text(encoding="utf-8")
    for name in re.findall(r"\b((?:tests|benchmarks|examples|native|attacks)/[\w/]+\.\w+)", text):
        assert (ROOT / name).exists(), name
