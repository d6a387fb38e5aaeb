"""Splitting files into records."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.data.corpus import Corpus
from charloom.data.reading.records import RecordSplitter
from charloom.data.text_format import RECORD_MARK, TextFormat
from charloom.errors import CorpusError
from support.errors import codes, raises_code


def records_of(text, records):
    """Split a text line by line: the reference for the splitter, which works on pieces."""
    found, lines = [], []
    for line in [*text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), None]:
        is_separator = line is None or (not line.strip(" \t") if records == "blank" else line.rstrip(" \t") == records)
        if not is_separator:
            lines.append(line)
            continue
        while lines and not lines[0].strip(" \t"):
            del lines[0]
        while lines and not lines[-1].strip(" \t"):
            del lines[-1]
        if lines:
            found.append("\n".join(lines))
        lines = []
    return found


def split(text, records, sizes=(7,)):
    pieces, start = [], 0
    while start < len(text):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(text[start : start + size])
        start += size
    splitter = RecordSplitter(records)
    whole = "".join(splitter.split(pieces, "x.txt"))
    assert whole == "" or whole.endswith(RECORD_MARK)
    return whole.split(RECORD_MARK)[:-1], splitter


TEXTS = st.lists(
    st.sampled_from(["a", "%", "% ", "%%", " a", "a ", "", " ", "\t", "x%", "% b"]) | st.text("ab% \t", max_size=6),
    max_size=12,
).flatmap(lambda lines: st.sampled_from(["\n", "\r\n", "\r"]).map(lambda end: end.join(lines)))


@given(TEXTS, st.sampled_from(["%", "blank"]), st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_records_equal_those_of_a_reference_that_reads_line_by_line(text, records, sizes):
    assert split(text, records, sizes)[0] == records_of(text, records)


@pytest.mark.parametrize("records", ["%", "blank"])
def test_long_lines_are_split_without_being_held(records, monkeypatch):
    monkeypatch.setattr("charloom.data.reading.records._MAX_HELD", 5)
    separator = "%" if records == "%" else ""
    text = f"abc def ghi jkl mno\n{separator}\n  second record, a long line\nshort\n"
    assert split(text, records, (4,))[0] == records_of(text, records)


def test_indentation_inner_blank_lines_and_spaces_at_line_ends_are_kept():
    text = "\n\n  first line  \n\n    second\n\n%\nnext\n"
    assert split(text, "%")[0] == ["  first line  \n\n    second", "next"]


@pytest.mark.parametrize(
    ("text", "found", "empty"),
    [
        ("a\n%\nb\n%\n", ["a", "b"], 0),  # a separator at the end
        ("%\na\n%\nb", ["a", "b"], 0),  # and at the start
        ("a\n%\n%\n\n%\nb", ["a", "b"], 2),
        ("a\n%b\nc%\n % d\n%\ne", ["a\n%b\nc%\n % d", "e"], 0),  # inside a line it is text
        ("a\r\n%\r\nb\r\n", ["a", "b"], 0),
    ],
)
def test_separators_at_the_ends_inside_lines_and_between_empty_records(text, found, empty):
    records, splitter = split(text, "%")
    assert (records, splitter.empty) == (found, empty)


def read(folder, records, **files):
    for name, text in files.items():
        (folder / f"{name}.txt").write_bytes(text.encode())
    return Corpus.read(folder, text_format=TextFormat(records=records))


def texts(corpus):
    return corpus.records[0].text.split(RECORD_MARK)[:-1]


def test_the_end_of_a_file_ends_a_record(tmp_path):
    assert texts(read(tmp_path, "%", a="one\n%\ntwo", b="three\n")) == ["one", "two", "three"]


def test_each_file_can_be_a_record(tmp_path):
    assert texts(read(tmp_path, "file", a="one\n\n%\ntwo\r\n", b="\n", c="three")) == ["one\n\n%\ntwo", "three"]


def test_empty_records_are_reported(tmp_path):
    assert codes(read(tmp_path, "%", a="one\n%\n%\ntwo").notices) == ["empty_records_skipped"]


@pytest.mark.parametrize("records", ["---", "blank", "% %"])
def test_a_text_without_separators_is_refused(records, tmp_path):
    with raises_code("no_record_separator", CorpusError, separator=records):
        read(tmp_path, records, a="one\n%\ntwo\n - --\n")


@pytest.mark.parametrize("mark", ["\x1e", "\x1f"])
def test_marks_in_the_text_are_refused_with_their_line(mark, tmp_path):
    with raises_code("record_mark_in_text", CorpusError, line=3, code_point=f"U+{ord(mark):04X}"):
        read(tmp_path, "%", a=f"one\n%\ntwo {mark}")


@pytest.mark.parametrize("records", [" ", "a\nb", "\t", "\x1e", "x" * 1001])
def test_invalid_separators_are_refused(records):
    with raises_code("invalid_setting", CorpusError, name="records"):
        TextFormat(records=records)


def test_special_characters_of_regular_expressions_are_ordinary(tmp_path):
    assert texts(read(tmp_path, "<|end.*|>", a="one\n<|end.*|>\ntwo\n<|endxx|>")) == ["one", "two\n<|endxx|>"]
