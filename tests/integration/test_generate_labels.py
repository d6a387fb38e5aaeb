"""`charloom generate` with models of records and labels: printed records, labels, copied records, invalid prompts."""

import json
from pathlib import Path

import pytest

import charloom
from charloom.data.text_format import LABEL_MARK, RECORD_MARK, TextRules
from charloom.data.vocabulary.characters import Vocabulary, replacement_character
from charloom.inference.sampling import sample_seeds
from charloom.model.architecture import Architecture
from charloom.model.file.model_file import SavedModel, save_model
from support.errors import cli_error
from support.models import initial_weights

LABELS = {"sea": 30, "land": 10}


@pytest.fixture
def make_model(tmp_path):
    def make(characters="\n abcdelnosxyz\\", **rules):
        rules = TextRules(**rules)
        marks = "" if rules.records is None else RECORD_MARK + (LABEL_MARK if rules.labels else "")
        vocabulary = Vocabulary("".join(sorted(characters + marks)))
        architecture = Architecture(len(vocabulary), "gru", 6, 20, 2, True)
        weights = initial_weights(architecture, 3)
        weights["output.weight"] *= 6.0
        save_model(tmp_path / "m.safetensors", SavedModel(architecture, vocabulary, weights, rules=rules))
        return charloom.load(tmp_path / "m.safetensors")

    return make


def samples(result):
    assert result.code == 0, result
    return result.json["samples"]


def test_escapes_in_allow_forbid_and_stop(quick_cli, make_model):
    make_model()
    allowed = samples(quick_cli("generate", "m.safetensors", "-n", 60, "--allow", r"\n\\a", "--seed", 1, "--json"))
    assert set(allowed[0]["text"]) == set("\n\\a")
    forbidden = samples(quick_cli("generate", "m.safetensors", "-n", 60, "--forbid", r"\\n", "--seed", 1, "--json"))
    assert not set(forbidden[0]["text"]) & set("\\n")
    text = allowed[0]["text"]
    stopped = samples(quick_cli("generate", "m.safetensors", "-n", 60, "--allow", r"\n\\a", "--seed", 1, "--stop",
                                r"\\a", "--json"))  # fmt: skip
    assert stopped[0]["text"] == text.partition("\\a")[0] and stopped[0]["finish_reason"] == "stop"


@pytest.mark.parametrize(("content", "code", "data"), [
    (b"", "no_prompts", {"path": "p.txt"}),
    (b"a\n\\u12\n", "invalid_escape", {"path": "p.txt", "line": 2}),
    ("a\n☃\n".encode(), "unknown_character", {"prompt": 2}),
    (b"a\n\xff\n", "undecodable", None),
])  # fmt: skip
def test_invalid_prompt_files_are_refused(quick_cli, make_model, content, code, data):
    make_model()
    Path("p.txt").write_bytes(content)
    done = quick_cli("generate", "m.safetensors", "--prompts", "p.txt", "--json")
    if data is None:
        assert done.code == 2 and "p.txt" in done.error["message"]
    else:
        cli_error(done, code, **data)


@pytest.mark.parametrize(("records", "separator"), [("%", "\n%\n"), ("blank", "\n\n"), ("", "\n\n")])
def test_several_records_are_printed_in_the_form_of_the_training_text(quick_cli, make_model, records, separator):
    model = make_model(records=records)
    done = quick_cli("generate", "m.safetensors", "--samples", 5, "--seed", 3)
    texts = [model.generate(seed=seed) for seed in sample_seeds(3, 5)]
    assert done.out == separator.join(texts) + "\n"
    assert not {RECORD_MARK, LABEL_MARK} & set(done.out + done.err)


def test_labels(quick_cli, make_model):
    model = make_model(records="%", labels=LABELS)
    land = quick_cli("generate", "m.safetensors", "--label", "land", "--seed", 1)
    assert land.out == model.generate(seed=1, label="land") + "\n"
    drawn = quick_cli("generate", "m.safetensors", "--seed", 1)
    assert any(f"label {name}\n" in drawn.err for name in LABELS) and LABEL_MARK not in drawn.out + drawn.err
    rows = samples(quick_cli("generate", "m.safetensors", "--samples", 30, "--seed", 1, "--json"))
    assert {row["label"] for row in rows} == set(LABELS)
    assert all(row["text"] == model.generate(seed=row["seed"], label=row["label"]) for row in rows)
    fixed = samples(quick_cli("generate", "m.safetensors", "--label", "sea", "--samples", 3, "--seed", 1, "--json"))
    assert {row["label"] for row in fixed} == {"sea"}
    wrong = quick_cli("generate", "m.safetensors", "--label", "lan", "--json")
    cli_error(wrong, "unknown_label", label="lan", suggestions=["land"])
    cli_error(quick_cli("generate", "m.safetensors", "-p", r"a\u001fb", "--json"), "record_mark_in_text")


def test_a_model_without_labels_refuses_one(quick_cli, make_model):
    make_model(records="%")
    cli_error(quick_cli("generate", "m.safetensors", "--label", "sea", "--json"), "no_labels")
    assert "label" not in samples(quick_cli("generate", "m.safetensors", "--json", "-n", 5))[0]


def test_interactive_mode_of_records(cli, make_model):
    make_model(records="%", labels=LABELS)
    typed = b"ab\n\n\n\n/text\na\\u001eb\n/quit\n"
    done = cli("generate", "m.safetensors", "-i", "--label", "sea", "--seed", 1, "-q", stdin=typed)
    assert done.code == 0 and "U+001E" in done.err and "Traceback" not in done.err
    assert not {RECORD_MARK, LABEL_MARK} & set(done.out)


def test_copied_records_are_counted(cli):
    texts = {"x": "one\ntwo", "y": "six\nten"}
    rows = [{"text": text, "genre": genre} for genre, text in texts.items() for _ in range(400)]
    Path("t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    trained = cli("train", "t.jsonl", "--column", "text", "--label", "genre", "--steps", "150", "--set",
                  "hidden_size=48", "-o", "run", "-q")  # fmt: skip
    assert trained.code == 0, trained.err
    (sample,) = samples(cli("generate", "run", "--label", "x", "-t", 0, "--novelty", "--json"))
    assert sample["text"] == "one\ntwo" and sample["label"] == "x"
    assert {name: sample["novelty"][name] for name in ("records", "copied_records")} == {
        "records": 1,
        "copied_records": 1,
    }
    plain = cli("generate", "run", "--label", "y", "-t", 0, "--novelty", "--samples", 2)
    assert plain.out == "six\nten\n\nsix\nten\n" and "2 of 2 records" in plain.err
    cut = samples(cli("generate", "run", "--label", "x", "-t", 0, "-n", 3, "--novelty", "--json"))[0]
    assert cut["novelty"]["copied_records"] == 0 and cut["finish_reason"] == "length"


@pytest.mark.parametrize("rules", [{"records": "%"}, {"records": "", "labels": {"a": 1}}])
def test_an_unknown_character_is_never_replaced_by_a_mark(make_model, rules):
    model = make_model("abc", **rules)
    assert replacement_character(model.vocabulary) == "a"
    assert RECORD_MARK not in model.generate("x", 9, seed=1, unknown="replace")
