"""``charloom score`` reads texts as the model's own text was read, and locates unknown characters in files."""

import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from charloom.data.text_format import LABEL_MARK, RECORD_MARK, TextRules
from charloom.data.vocabulary.characters import Vocabulary
from charloom.data.vocabulary.unknown import UnknownCharacters, best_form, known_pieces, replace_unknown
from charloom.inference.model import Model
from charloom.model.architecture import Architecture
from charloom.model.file.model_file import SavedModel, save_model
from support.errors import cli_error
from support.models import initial_weights

LETTERS = "\n abcdefghijklmnopqrstuvwxyz"


def make_model(characters=LETTERS, rules=None):
    architecture = Architecture(len(characters), "gru", 6, 12, 1, True)
    vocabulary = Vocabulary("".join(sorted(characters)))
    return SavedModel(architecture, vocabulary, initial_weights(architecture, 2), rules=rules or TextRules())


@pytest.fixture
def model(workspace_file):
    return workspace_file(make_model())


@pytest.fixture
def workspace_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def save(saved, name="m.safetensors"):
        save_model(Path(name), saved)
        return name

    return save


# --- positions


@pytest.mark.parametrize("before", [0, 3, 511, 512, 5003, 300_000])
def test_the_position_of_an_unknown_character_counts_from_the_start_of_the_text(before, model, cli):
    text = ("ab\ncd ef\n" * (before // 9 + 1))[:before]
    Path("late.txt").write_text(f"{text}€ and € end", encoding="utf-8")
    result = cli("score", model, "late.txt", "--json")
    cli_error(result, "unknown_character", occurrences=2, total=before + 11)
    (found,) = result.error["characters"]
    assert (found["position"], found["path"]) == (before, "late.txt")
    assert (found["line"], found["column"]) == (text.count("\n") + 1, len(text) - text.rfind("\n"))


def test_the_line_is_that_of_the_file_in_a_folder(model, cli):
    Path("texts").mkdir()
    for name, text in {"a.txt": "one\ntwo", "b.txt": "three\nfour\n", "c.txt": "five\nsix €\n"}.items():
        Path("texts", name).write_text(text, encoding="utf-8")
    result = cli("score", model, "texts", "--json")
    (found,) = result.error["characters"]
    assert (found["path"], found["line"], found["column"]) == (str(Path("texts", "c.txt")), 2, 5)


def test_line_ends_that_become_line_feeds_do_not_shift_lines(workspace_file, cli):
    name = workspace_file(make_model(rules=TextRules(newlines="lf")))
    Path("t.txt").write_bytes("one\r\ntwo\rthree €".encode())
    (found,) = cli("score", name, "t.txt", "--json").error["characters"]
    assert (found["line"], found["column"]) == (3, 7)


@pytest.mark.parametrize("sizes", [[1], [3, 1], [1000]])
def test_collected_positions_do_not_depend_on_the_pieces(sizes):
    text, vocabulary = "ab\ncé d\n\nxé€\n", Vocabulary("\nabcd x")
    found, start, i = UnknownCharacters(vocabulary), 0, 0
    while start < len(text):
        size = sizes[i % len(sizes)]
        found.add(text[start : start + size])
        start, i = start + size, i + 1
    data = found.error().data
    assert data["occurrences"] == 3 and data["total"] == len(text)
    places = {row["character"]: (row["position"], row["line"], row["column"]) for row in data["characters"]}
    assert places == {"é": (4, 2, 2), "€": (11, 4, 3)}


# --- unknown characters


@pytest.mark.parametrize("unknown", ["skip", "replace"])
def test_unknown_characters_are_skipped_or_replaced_and_counted(unknown, model, cli):
    Path("t.txt").write_text("abc €1 def €", encoding="utf-8")
    result = cli("score", model, "t.txt", "--unknown", unknown, "--json")
    plain = "abc  def " if unknown == "skip" else "abc    def  "
    assert result.json["total_nats"] == pytest.approx(Model.load(model).score(plain).total_nats, rel=1e-6)
    assert "unknown_characters" not in result.out and "3 characters" in result.err


def test_a_bad_line_is_marked_and_the_rest_is_scored(model, cli):
    Path("t.txt").write_text("one\ntwo €\nthree\n", encoding="utf-8")
    result = cli("score", model, "t.txt", "--per-line", "--json")
    assert result.code == 0
    rows = result.json["lines"]
    assert [row["bits_per_char"] is None for row in rows] == [False, True, False]
    assert rows[1]["unknown"] == 1 and "t.txt, line 2" in result.err
    assert rows[2] == cli("score", model, "t.txt", "--per-line", "--unknown", "skip", "--json").json["lines"][2]


def test_with_an_error_the_lines_before_a_bad_line_are_printed(model, cli):
    Path("t.txt").write_text("one\ntwo €\nthree\n", encoding="utf-8")
    result = cli("score", model, "t.txt", "--per-line", "--unknown", "error")
    assert result.code == 2 and result.out.endswith("\tone\n") and result.out.count("\n") == 1


@pytest.mark.parametrize("option", [[], ["--per-char"]])
def test_whole_texts_cannot_be_marked(option, model, cli):
    Path("t.txt").write_text("one\n")
    cli_error(cli("score", model, "t.txt", "--unknown", "mark", *option, "--json"), "missing_option")


def test_lines_from_a_pipe_are_scored_as_they_arrive(model):
    command = [sys.executable, "-m", "charloom", "score", model, "-", "--per-line", "-q"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        for line in ("some words", "more words", "last"):
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            assert process.stdout.readline().endswith(f"\t{line}\n")  # before the next line is sent
        process.stdin.close()
        assert process.wait(30) == 0


# --- newlines and normal forms


@pytest.mark.parametrize("data", [b"rain\r\non\r\n", b"rain\ron\r", b"rain\non\n"])
def test_a_text_is_read_with_the_newlines_of_the_training_text(data, workspace_file, cli):
    name = workspace_file(make_model(rules=TextRules(newlines="lf")))
    Path("t.txt").write_bytes(data)
    assert cli("score", name, "t.txt", "--json").json["characters"] == 7
    assert cli("generate", name, "--prompt-file", "t.txt", "-n", 3, "-q").out.startswith("rain\non\n")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("word", ["한국", "ệ", "é"])
def test_a_text_is_read_in_the_normal_form_of_the_training_text(word, form, workspace_file, cli):
    name = workspace_file(make_model(LETTERS + unicodedata.normalize("NFC", word), TextRules(normalize="nfc")))
    Path("t.txt").write_text(f"a {unicodedata.normalize(form, word)} b", encoding="utf-8")
    composed = unicodedata.normalize("NFC", f"a {word} b")
    assert cli("score", name, "t.txt", "--json").json["characters"] == len(composed) - 1
    assert cli("generate", name, "--prompt-file", "t.txt", "-n", 1, "-q").out.startswith(composed)
    assert Model.load(name).score(Path("t.txt").read_text(encoding="utf-8")).characters == len(composed) - 1


@pytest.mark.parametrize(("known", "typed"), [("NFD", "NFC"), ("NFC", "NFD")])
@pytest.mark.parametrize("word", ["한국", "ệa", "café"])
def test_unknown_forms_are_recognized_in_both_directions(word, known, typed):
    vocabulary = Vocabulary("".join(sorted(set(" " + unicodedata.normalize(known, word)))))
    prompt = unicodedata.normalize(typed, word)
    found = UnknownCharacters(vocabulary)
    found.add(prompt)
    data = found.error().data
    assert data[f"known_in_{known.lower()}"] and not data[f"known_in_{typed.lower()}"]
    if known == "NFD":
        assert [row["suggestion"] for row in data["characters"]] == [None] * data["count"]
    assert replace_unknown(vocabulary, prompt, "replace") == unicodedata.normalize(known, word)
    assert best_form(vocabulary, "x") == "x"


def test_replacing_keeps_texts_whose_form_does_not_help():
    assert replace_unknown(Vocabulary(" cafe"), "café!", "replace") == "caf  "
    assert "".join(known_pieces(["a€", "b"], UnknownCharacters(Vocabulary("ab")), "skip")) == "ab"


# --- records


RECORDS = ["one two\nthree", "four", "five\n\nsix"]


def record_model(labels=None):
    return make_model(
        LETTERS + RECORD_MARK + (LABEL_MARK if labels else ""), TextRules(records="%", labels=labels or {})
    )


def test_records_are_read_by_the_rules_of_the_model(workspace_file, cli):
    name = workspace_file(record_model())
    Path("t.txt").write_text("\n%\n".join(RECORDS))
    model = Model.load(name)
    rows = cli("score", name, "t.txt", "--per-record", "--json").json["records"]
    assert [row["text"] for row in rows] == RECORDS
    for row in rows:
        assert row["total_nats"] == model.score(row["text"]).total_nats
    whole = cli("score", name, "t.txt", "--json").json
    assert whole["total_nats"] == pytest.approx(sum(row["total_nats"] for row in rows))
    assert whole["characters"] == sum(len(text) + 1 for text in RECORDS)
    shown = cli("score", name, "t.txt", "--per-record", "-q").out
    assert shown.count("\n") == 3 and RECORD_MARK not in shown
    assert RECORD_MARK not in cli("score", name, "t.txt").out + cli("score", name, "t.txt", "--per-char").out


@pytest.mark.parametrize("text", ["four", "four\n", "\n\nfour\n%\n"])
def test_a_text_without_a_separator_is_one_record(text, workspace_file, cli):
    name = workspace_file(record_model())
    Path("t.txt").write_text(text)
    (row,) = cli("score", name, "t.txt", "--per-record", "--json").json["records"]
    assert row["text"] == "four"


def test_other_separators_and_tables_can_be_scored(workspace_file, cli):
    name = workspace_file(record_model())
    Path("t.txt").write_text("\n---\n".join(RECORDS))
    Path("t.csv").write_text("id,text\n" + "".join(f'1,"{text}"\n' for text in RECORDS))
    for options in (["t.txt", "--records", "---"], ["t.csv", "--column", "text"]):
        rows = cli("score", name, *options, "--per-record", "--json").json["records"]
        assert [row["text"] for row in rows] == RECORDS
    cli_error(cli("score", name, "t.txt", "--records", "%%", "--per-record", "--json"), "no_record_separator")


def test_a_model_of_continuous_text_scores_records_one_by_one(model, cli):
    Path("t.txt").write_text("\n%\n".join(RECORDS))
    rows = cli("score", model, "t.txt", "--records", "%", "--per-record", "--json").json["records"]
    assert [row["total_nats"] for row in rows] == [Model.load(model).score(text).total_nats for text in RECORDS]
    cli_error(cli("score", model, "t.txt", "--records", "%", "--json"), "missing_option", option="--per-record")
    cli_error(cli("score", model, "t.txt", "--per-record", "--json"), "missing_option", option="--records")


def test_labeled_records_are_scored_with_their_labels(workspace_file, cli):
    name = workspace_file(record_model({"sea": 3, "land": 2}))
    Path("t.jsonl").write_text('{"text": "one\\ntwo", "kind": "sea"}\n{"text": "four", "kind": "land"}\n')
    rows = cli("score", name, "t.jsonl", "--column", "text", "--label", "kind", "--per-record", "--json").json[
        "records"
    ]
    model = Model.load(name)
    assert [(row["label"], row["text"]) for row in rows] == [("sea", "one\ntwo"), ("land", "four")]
    assert rows[0]["total_nats"] == model.score(f"sea{LABEL_MARK}one\ntwo").total_nats
    Path("t.txt").write_text("one\ntwo\n%\nfour\n")
    labeled = cli("score", name, "t.txt", "--with-label", "sea", "--per-record", "--json").json["records"]
    assert labeled[0] == rows[0] and labeled[1]["label"] == "sea"
    cli_error(cli("score", name, "t.txt", "--json"), "missing_label", accepted=["sea", "land"])
    cli_error(cli("score", name, "t.txt", "--with-label", "see", "--json"), "unknown_label", suggestions=["sea"])


def test_labels_need_a_model_of_labels(workspace_file, cli):
    name = workspace_file(record_model())
    Path("t.csv").write_text("text,kind\na,sea\n")
    cli_error(cli("score", name, "t.csv", "--column", "text", "--label", "kind", "--json"), "no_labels")


@pytest.mark.parametrize("start", ["", "\n\n", "% \n"])
def test_records_have_positions_but_no_lines_of_the_file(start):
    """Separators and blank lines are removed while reading, so a counted line would not be that of the file."""
    found = UnknownCharacters(Vocabulary.from_text("\n% abc"), has_lines=False)
    found.add(f"{start}a€")
    place = found.first["€"]
    assert (place["position"], place["line"], place["column"]) == (len(start) + 1, None, None)
