"""Reading a column of CSV, TSV and JSON files."""

import csv
import io
import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charloom.data.corpus import Corpus
from charloom.data.reading.reader import text_pieces
from charloom.data.text_format import LABEL_MARK, RECORD_MARK, TextFormat
from charloom.errors import CorpusError
from support.errors import codes, raises_code

EXAMPLES = int(os.environ.get("CHARLOOM_TABLE_EXAMPLES", "300"))
TABLES = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

VALUES = st.text(st.sampled_from("ab;,|\t\" '\n\réß€日"), max_size=8)
NAMES = ("id", "text", "other")


def read(path, notices=None, **options):
    """Return the texts of column "text" as charloom reads them."""
    notices = [] if notices is None else notices
    whole = "".join(text_pieces([str(path)], TextFormat(**{"column": "text", **options}), notices))
    return whole.split(RECORD_MARK)[:-1]


def expected(values):
    """Return the records of values: line breaks as line feeds, without blank lines around them, empty ones skipped."""
    texts = [value.replace("\r\n", "\n").replace("\r", "\n") for value in values if value is not None]
    return [text.strip("\n") for text in texts if text.strip()]


def checked(data, name, by_python, **options):
    """Check that charloom reads the same values as Python from a file, or that both refuse it."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        path = Path(folder, name)
        path.write_bytes(data)
        try:
            values = expected(by_python())
        except (csv.Error, ValueError, IndexError):
            values = None
        try:
            texts = read(path, **options)
        except CorpusError as error:
            # Python takes a carriage return outside of quotation marks for the end of a row
            assert values is None or "new-line character" in error.data.get("reason", ""), error
            assert error.data["path"] == str(path) and error.data["line"] >= 1
        else:
            assert texts == values


@st.composite
def rows(draw):
    return draw(st.lists(st.tuples(VALUES, VALUES, VALUES), max_size=6))


@TABLES
@given(
    rows(),
    st.sampled_from(",;\t|"),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "gb18030"]),
    st.booleans(),
)
def test_csv_files_give_the_values_that_python_reads(table, delimiter, quoting, end, encoding, states_delimiter):
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator=end)
    writer.writerow(NAMES)
    writer.writerows(table)
    text = file.getvalue()

    def by_python():
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        return [row[1] for row in reader if row][1:]

    options = {"encoding": "utf-8" if encoding == "utf-8-sig" else encoding}
    whole = (f"sep={delimiter}{end}" if states_delimiter else "") + text
    try:
        data = whole.encode(encoding)
    except UnicodeEncodeError:
        return
    checked(data, "t.csv", by_python, **options)


@TABLES
@given(
    st.lists(st.text(st.sampled_from('ab"\t,\n\r '), max_size=14), max_size=6),
    st.sampled_from([("t.csv", ",", csv.QUOTE_MINIMAL), ("t.tsv", "\t", csv.QUOTE_NONE)]),
)
def test_broken_tables_are_refused_where_python_refuses_them(lines, kind):
    name, delimiter, quoting = kind
    text = delimiter.join(NAMES) + "\n" + "\n".join(lines)

    def by_python():
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)
        return [row[1] for row in reader if row][1:]

    checked(text.encode(), name, by_python)


JSON_VALUES = VALUES | st.none()


@TABLES
@given(
    st.lists(st.fixed_dictionaries({"id": st.integers()}, optional={"text": JSON_VALUES}), max_size=6), st.booleans()
)
def test_json_lines_give_the_values_that_python_reads(table, ascii_only):
    if not any("text" in row for row in table):
        return
    text = "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in table)
    checked(text.encode(), "t.jsonl", lambda: [json.loads(line).get("text") for line in text.split("\n")[:-1]])


@TABLES
@given(
    st.lists(st.fixed_dictionaries({"text": JSON_VALUES}), max_size=6),
    st.sampled_from([None, 1]),
    st.text(st.sampled_from('[]{},:" \n1'), max_size=2),
    st.integers(0, 200),
)
def test_json_arrays_give_the_values_that_python_reads(table, indent, inserted, position):
    text = json.dumps(table, indent=indent)
    text = text[:position] + inserted + text[position:]
    if not text.lstrip().startswith("["):
        return

    def by_python():
        values = json.loads(text)
        if not all(isinstance(row, dict) and isinstance(row.get("text"), (str, type(None))) for row in values):
            raise ValueError
        if values and not any("text" in row for row in values):
            raise ValueError
        return [row.get("text") for row in values]

    checked(text.encode(), "t.json", by_python)


# --- cases


def write(folder, name, text, encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def test_quotation_marks_in_tsv_are_letters(tmp_path):
    lines = [f"{i}\tline {i}" for i in range(300)]
    lines[50], lines[250] = '50\t"so she began', '250\tand so it ended"'
    lines[51] = '51\t"Hi," she said.'
    texts = read(write(tmp_path, "talk.tsv", "id\ttext\n" + "\n".join(lines) + "\n"))
    assert len(texts) == 300 and texts[50] == '"so she began' and texts[51] == '"Hi," she said.'


def test_quoted_tsv_and_unquoted_csv_on_request(tmp_path):
    tsv = write(tmp_path, "a.tsv", 'text\tid\n"one\ntwo"\t1\n')
    assert read(tsv, quoting="standard") == ["one\ntwo"]
    quotes = write(tmp_path, "a.csv", 'id,text\n1,"Hi" she said\n2,"\n')
    assert read(quotes, quoting="none") == ['"Hi" she said', '"']


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('id,text\n1,a\n2,"never closed\n3,b\n4,c\n', 3),
        ('id,text\n1,a\n2,"Hi" she said\n3,b\n', 3),
        ('id,text\n1,"two\nlines"\n2,"x" y\n', 4),
        ("id,text\n1,a\n2\n", 3),
    ],
)
def test_invalid_rows_are_refused_with_the_line_where_they_begin(text, line, tmp_path):
    with pytest.raises(CorpusError) as caught:
        read(write(tmp_path, "t.csv", text))
    assert caught.value.code in ("invalid_table", "missing_field") and caught.value.data["line"] == line


def test_values_of_several_lines_are_named_when_they_become_one_line(tmp_path):
    notices = []
    path = write(tmp_path, "t.csv", 'id,text\n1,a\n2,"b\r\nc"\n3,d\n4,"e\nf"\n')
    whole = "".join(text_pieces([str(path)], TextFormat(column="text", lines=True), notices))
    assert whole == "a\nb c\nd\ne f\n"
    assert codes(notices) == ["line_breaks_replaced"] and notices[0].data["lines"] == [[3, 4], [6, 7]]


@pytest.mark.parametrize("length", [131_073, 1_000_000])
def test_fields_can_have_any_length(length, tmp_path):
    assert read(write(tmp_path, "t.csv", f"text\n{'x' * length}\n")) == ["x" * length]


@pytest.mark.parametrize("delimiter", ";|\t")
def test_other_delimiters_are_detected_and_reported(delimiter, tmp_path):
    notices = []
    path = write(tmp_path, "t.csv", f"id{delimiter}text\n1{delimiter}a, b\n")
    assert read(path, notices) == ["a, b"] and codes(notices) == ["delimiter_detected"]
    assert read(path, delimiter=delimiter) == ["a, b"]


def test_unknown_columns_are_listed_under_the_likely_delimiter(tmp_path):
    with raises_code("unknown_column", CorpusError, columns=["id", "text"], suggestions=["text"]):
        read(write(tmp_path, "t.csv", "id;text\n1;a\n"), column="txt")


def test_a_column_that_occurs_twice_is_refused(tmp_path):
    with raises_code("duplicate_column", CorpusError, column="text"):
        read(write(tmp_path, "t.csv", "text,text\na,b\n"))


@pytest.mark.parametrize("rest", ['{"text": null}', '{"id": 3}', '{"text": ""}', '{"text": " \\n"}'])
def test_rows_without_a_text_are_skipped_and_counted(rest, tmp_path):
    notices = []
    path = write(tmp_path, "a.jsonl", '{"text": "rain"}\n' + f"{rest}\n" * 2)
    assert read(path, notices) == ["rain"]
    assert codes(notices) == ["rows_without_text_skipped"] and notices[0].data["count"] == 2
    assert notices[0].data["lines"] == [2, 3]


@pytest.mark.parametrize("value", ["1", "true", "[]", '{"a": 1}'])
def test_other_values_than_texts_are_refused_with_their_line(value, tmp_path):
    with raises_code("value_not_text", CorpusError, line=2):
        read(write(tmp_path, "a.jsonl", '{"text": "rain"}\n{"text": ' + value + "}\n"))


@pytest.mark.parametrize("text", ["[1]", '{"id": 1}\n', '["a"]', "[[]]"])
def test_json_without_the_column_is_refused(text, tmp_path):
    with pytest.raises(CorpusError) as caught:
        read(write(tmp_path, "a.json", text))
    assert caught.value.code in ("not_a_json_object", "unknown_column")


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize("half", ["\\ud83d", "\\ude00", "\\ude00\\ud83d"])
def test_half_characters_are_found_with_their_line(half, name, tmp_path):
    objects = ['{"text": "rain"}', '{"text": "cut ' + half + '"}']
    joined = "\n".join(objects) if name == "a.jsonl" else "[" + ",\n".join(objects) + "]"
    path = write(tmp_path, name, joined)
    with raises_code("lone_surrogate", CorpusError, line=2, path=str(path)):
        read(path)
    count = half.count("\\")
    notices = []
    assert read(path, notices, errors="replace")[1] == "cut " + "\ufffd" * count
    assert codes(notices) == ["lone_surrogates_changed"] and notices[0].data["line"] == 2
    assert read(path, errors="skip")[1] == "cut "


def test_whole_emoji_of_two_escapes_are_read(tmp_path):
    assert read(write(tmp_path, "a.jsonl", '{"text": "\\ud83d\\ude00"}')) == ["😀"]


@pytest.mark.parametrize("text", ["abc\ud83d def " * 100, "\udc00", "ab\udfff"])
def test_texts_with_half_characters_are_refused_in_python(text):
    position = next(i for i, c in enumerate(text) if "\ud800" <= c <= "\udfff")
    with raises_code("lone_surrogate", CorpusError, position=position):
        Corpus(text)


@pytest.mark.parametrize(
    "text",
    ['{"text": "a"}\n{"text": "b"}\n', '[{"text": "a"},\n{"text": "b"}]', "id,text\n1,a\n2,b\n", "id;text\n1;a\n2;b\n"],
)
def test_tables_are_read_from_standard_input(text, cli):
    facts = cli("corpus", "-", "--column", "text", "--json", stdin=text.encode())
    assert facts.code == 0 and facts.json["records"] == 2, facts.err


def test_files_that_are_no_tables_are_skipped_in_a_folder(tmp_path):
    write(tmp_path, "README.txt", "hello")
    with raises_code("unsupported_table_format", CorpusError):
        read(tmp_path / "README.txt")
    with raises_code("no_tables", CorpusError):
        read(tmp_path)
    write(tmp_path, "x.jsonl", '{"text": "a"}')
    notices = []
    assert read(tmp_path, notices) == ["a"] and codes(notices) == ["not_a_table_skipped"]
    assert read(write(tmp_path, "y.txt", "text\nb\n"), table="csv") == ["b"]


# --- labels


def test_labels_precede_the_texts_of_records(tmp_path):
    path = write(tmp_path, "a.csv", 'text,genre\n"boo\nhoo",horror\nha,comedy\nhi,comedy\n')
    corpus = Corpus.read(path, text_format=TextFormat(column="text", label="genre"))
    assert corpus.text == f"horror{LABEL_MARK}boo\nhoo{RECORD_MARK}" + "".join(
        f"comedy{LABEL_MARK}{text}{RECORD_MARK}" for text in ("ha", "hi")
    )
    assert corpus.labels == {"comedy": 2, "horror": 1} == dict(corpus.rules.labels)


@pytest.mark.parametrize("label", ["", '"a\nb"', "x" * 1001, '"\t"'])
def test_invalid_labels_are_refused_with_their_line(label, tmp_path):
    with raises_code("invalid_label", CorpusError, line=3, column="genre"):
        read(write(tmp_path, "a.csv", f"text,genre\nboo,horror\nha,{label}\n"), label="genre")


def test_json_labels_can_be_numbers(tmp_path):
    path = write(tmp_path, "a.jsonl", '{"text": "a", "stars": 5}\n{"text": "b", "stars": true}\n')
    assert Corpus.read(path, text_format=TextFormat(column="text", label="stars")).labels == {"5": 1, "true": 1}


def test_a_column_with_very_many_values_is_no_label(tmp_path):
    text = "text,id\n" + "".join(f"a,{i}\n" for i in range(1001))
    with raises_code("too_many_labels", CorpusError, line=1002):
        read(write(tmp_path, "a.csv", text), label="id")


@pytest.mark.parametrize("mark", [RECORD_MARK, LABEL_MARK])
def test_marks_in_values_are_refused_with_their_line(mark, tmp_path):
    with raises_code("record_mark_in_text", CorpusError, line=2):
        read(write(tmp_path, "a.csv", f"text\na{mark}b\n"))
