"""Partitioning of files: every line is in exactly one partition, in order, for any line ends and sizes."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.bulk import partitions
from charloom.bulk.partitions import (
    Partition,
    check_plain_text,
    get_partition,
    line_number,
    line_text,
    lines_in,
    partition_count,
)
from charloom.errors import CorpusError
from support.errors import raises_code

FILES = st.lists(st.sampled_from([b"", b"a", b"one line", b"\r", "né".encode(), b"x" * 30]), max_size=12)
ENDS = st.sampled_from([b"\n", b"\r\n"])


def partitioned(folder, contents, partition_bytes):
    """Return (file, offset, line) of all lines, read partition by partition."""
    paths = [folder / f"{i}.txt" for i in range(len(contents))]
    for path, data in zip(paths, contents, strict=True):
        path.write_bytes(data)
    sizes = [check_plain_text(path) for path in paths]
    rows = []
    for number in range(partition_count(sizes, partition_bytes)):
        part = get_partition(sizes, partition_bytes, number)
        lines = list(lines_in(paths[part.file], part.start, part.end))
        assert all(part.start <= offset < part.end for offset, _ in lines)
        rows += [(part.file, offset, line) for offset, line in lines]
    return rows


def whole(contents):
    """Return the same from the complete contents."""
    rows = []
    for i, data in enumerate(contents):
        offset = 0
        for line in [line + b"\n" for line in data.split(b"\n")[:-1]] + [data.split(b"\n")[-1]]:
            rows += [(i, offset, line)] if line else []
            offset += len(line)
    return rows


@given(
    st.lists(st.tuples(FILES, ENDS, st.booleans()), min_size=1, max_size=3),
    st.integers(1, 45),
)
def test_every_line_is_in_exactly_one_partition(tmp_path_factory, files, partition_bytes):
    contents = [end.join(lines) + end * is_ended for lines, end, is_ended in files]
    assert partitioned(tmp_path_factory.mktemp("texts"), contents, partition_bytes) == whole(contents)


def test_a_line_longer_than_the_read_size_belongs_to_the_partition_of_its_first_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(partitions, "_SKIPPED", 3)
    contents = [b"short\n" + b"y" * 50 + b"\nend"]
    assert partitioned(tmp_path, contents, 8) == whole(contents)


def test_partitions_are_numbered_file_by_file():
    sizes = [10, 0, 25, 1]
    result = [get_partition(sizes, 10, number) for number in range(partition_count(sizes, 10))]
    assert result == [
        Partition(0, 0, 10),
        *(Partition(2, at, min(at + 10, 25)) for at in (0, 10, 20)),
        Partition(3, 0, 1),
    ]
    with pytest.raises(IndexError):
        get_partition(sizes, 10, len(result))


def test_a_line_that_is_too_long_is_rejected_with_its_offset(tmp_path, monkeypatch):
    monkeypatch.setattr(partitions, "MAX_LINE_BYTES", 10)
    path = tmp_path / "long.txt"
    path.write_bytes(b"123456789\n1234567890\n")  # lines of 10 and 11 bytes, including their ends
    with raises_code("line_too_long", CorpusError, path=str(path), offset=10, maximum=10):
        list(lines_in(path, 0, 20))


@pytest.mark.parametrize(
    ("line", "offset", "text"),
    [
        (b"a\n", 5, "a"),
        (b"a\r\n", 5, "a"),
        (b"a\r", 5, "a\r"),
        (b"\n", 5, ""),
        (b"a\rb\r\r\n", 5, "a\rb\r"),
        (b"\xef\xbb\xbfa\n", 0, "a"),
        (b"\xef\xbb\xbfa\n", 5, "\ufeffa"),
        (b"\xc3\xa9\xff", 5, "é\udcff"),
    ],
)
def test_decoding_of_a_line(line, offset, text):
    assert line_text(line, offset) == text


def test_line_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(partitions, "_SKIPPED", 4)
    path = tmp_path / "some.txt"
    path.write_bytes(b"one\r\n\ntwo\nthree\n")
    assert [line_number(path, offset) for offset, _ in lines_in(path, 0, 100)] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("data", "code", "details"),
    [
        (gzip.compress(b"a text", mtime=0), "compressed_file", {"compression": "gzip"}),
        ("a text".encode("utf-16"), "unsupported_encoding", {"encoding": "utf-16"}),
        (b"a\0b", "binary_file", {}),
        (b"%PDF-1.7\n", "document", {}),
        (b"PK\x03\x04\x14\0", "document", {}),
    ],
)
def test_files_that_cannot_be_partitioned_are_rejected(tmp_path, data, code, details):
    path = tmp_path / "strange.txt"
    path.write_bytes(data)
    with raises_code(code, CorpusError, path=str(path), **details):
        check_plain_text(path)
    with raises_code("unreadable_file", CorpusError, path=str(tmp_path / "absent.txt")):
        check_plain_text(tmp_path / "absent.txt")
