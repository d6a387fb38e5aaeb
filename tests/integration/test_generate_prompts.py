"""``charloom generate``: escapes, several prompts, stop sequences that never occur, records and labels."""

from pathlib import Path

import pytest

import charloom
from charloom.data.corpus import Corpus
from charloom.data.text_format import LABEL_MARK, RECORD_MARK, TextRules
from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import InputError, SettingsError
from charloom.inference.model import Model
from charloom.inference.sampling import sample_seeds
from charloom.model.architecture import Architecture
from charloom.model.file.model_file import SavedModel, save_model
from charloom.terminal.messages import unescape
from support.errors import cli_error, raises_code
from support.models import initial_weights

CHARACTERS = "\n\t abcdefghijklmnopqrstuvwxyz\\é😀"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def saved(name="m.safetensors", characters=CHARACTERS, rules=None):
    architecture = Architecture(len(characters), "gru", 6, 16, 1, True)
    weights = initial_weights(architecture, 4)
    weights["output.weight"] *= 4
    model = SavedModel(architecture, Vocabulary("".join(sorted(characters))), weights, rules=rules or TextRules())
    save_model(Path(name), model)
    return name


# --- escapes


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        (r"a\nb", "a\nb"), (r"\r\n\t", "\r\n\t"), (r"\\newline", r"\newline"), (r"\\\n", "\\\n"), (r"\u00e9", "é"),
        (r"\ud83d\ude00", "😀"), (r"\q \x41 \.", r"\q \x41 \."), ("\\", "\\"), (r"\\u00e9", r"\u00e9"),
        (r"\usual", r"\usual"),
    ],
)  # fmt: skip
def test_escapes_follow_one_rule(typed, text):
    assert unescape(typed) == text


@pytest.mark.parametrize("typed", [r"\u12", r"\ue9 ", r"\ud83d", r"\ude00\ud83d", r"a\ud83d b"])
def test_incomplete_escapes_are_refused(typed):
    with raises_code("invalid_escape", InputError):
        unescape(typed)


@pytest.mark.parametrize(("typed", "text"), [(r"a\nb", "a\nb"), (r"\\noindent ", "\\noindent "), (r"\u00e9", "é")])
def test_prompts_are_unescaped_and_prompt_files_are_not(typed, text, cli):
    name = saved()
    assert cli("generate", name, "-p", typed, "-n", 5, "--seed", 1, "-q").out.startswith(text)
    Path("p.txt").write_text("\\n", encoding="utf-8")
    assert cli("generate", name, "--prompt-file", "p.txt", "-n", 5, "--seed", 1, "-q").out.startswith("\\n")


# --- several prompts


def test_each_prompt_of_a_file_gets_the_text_of_a_single_generation(cli):
    name = saved()
    prompts = ["abc", "", "x\ny", "a longer prompt of several words"]
    Path("prompts.txt").write_text("abc\n\nx\\ny\na longer prompt of several words\n", encoding="utf-8")
    rows = cli("generate", name, "--prompts", "prompts.txt", "-n", 30, "--seed", 7, "--json").json["samples"]
    assert [row["prompt"] for row in rows] == prompts
    model = Model.load(name)
    for row in rows:
        assert row["text"] == model.generate(row["prompt"], 30, seed=row["seed"])
    assert [row["seed"] for row in rows] == sample_seeds(7, 4)
    assert model.generate(prompts, 30, seed=7) == [row["text"] for row in rows]
    shown = cli("generate", name, "--prompts", "prompts.txt", "-n", 30, "--seed", 7)
    assert shown.out == "\n---\n".join(row["text"] for row in rows) + "\n"
    titles = [line for line in shown.err.splitlines() if line.startswith("--- sample")]
    assert ["prompt" in title for title in titles] == [True, False, True, True]  # the second prompt is empty
    assert "'abc'" in titles[0] and r"'x\ny'" in titles[2]


def test_samples_are_generated_for_each_prompt(cli):
    name = saved()
    Path("prompts.txt").write_text("a\r\nb\r\n", encoding="utf-8")
    rows = cli("generate", name, "--prompts", "prompts.txt", "--samples", 3, "-n", 9, "--seed", 7, "--json").json[
        "samples"
    ]
    assert [row["prompt"] for row in rows] == ["a"] * 3 + ["b"] * 3 and len({row["seed"] for row in rows}) == 6


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--prompts", "empty.txt"], "no_prompts"),
        (["--prompts", "missing.txt"], "file_error"),
        (["--prompts", "bad.txt"], "unknown_character"),
        (["--prompts", "half.txt"], "invalid_escape"),
        (["--prompts", "good.txt", "-p", "a"], "conflicting_options"),
        (["--prompts", "good.txt", "-i"], "conflicting_options"),
    ],
)
def test_invalid_prompts_are_refused(arguments, code, cli):
    name = saved()
    for file, text in {"empty": "", "bad": "abc\n€\n", "half": "\\ud83d\n", "good": "abc\n"}.items():
        Path(f"{file}.txt").write_text(text, encoding="utf-8")
    cli_error(cli("generate", name, *arguments, "--json"), code) if "-i" not in arguments else None
    assert cli("generate", name, *arguments).code == 2


# --- stop sequences


@pytest.mark.parametrize(("stop", "code"), [("€", "€"), ("a#", "#"), (r"\r\n", "\r")])
def test_stop_sequences_that_never_occur_are_reported(stop, code, cli):
    result = cli("generate", saved(), "-n", 5, "--stop", stop)
    assert result.code == 0 and "never occurs" in result.err
    with pytest.warns(UserWarning) as caught:
        Model.load("m.safetensors").generate(length=5, stop=unescape(stop))
    assert caught[0].message.args[0].code == "stop_never_occurs"
    assert code in caught[0].message.args[0].data["characters"]


def test_possible_stop_sequences_are_not_reported(cli):
    assert "never" not in cli("generate", saved(), "-n", 5, "--stop", r"a\n", "--stop", "b").err


# --- records and labels


def record_model(labels=None):
    marks = RECORD_MARK + (LABEL_MARK if labels else "")
    return saved(characters="\n abcdelnsx" + marks, rules=TextRules(records="%", labels=labels or {}))


def test_samples_of_records_are_separated_as_in_the_training_text(cli):
    name = record_model()
    rows = cli("generate", name, "--samples", 4, "-n", 80, "--seed", 3, "--json").json["samples"]
    shown = cli("generate", name, "--samples", 4, "-n", 80, "--seed", 3, "-q").out
    assert shown == "\n%\n".join(row["text"] for row in rows) + "\n"
    assert RECORD_MARK not in shown and [row["text"] for row in rows] == [
        Model.load(name).generate(length=80, seed=row["seed"]) for row in rows
    ]


def test_labels_are_chosen_or_drawn_and_reported(cli):
    name = record_model({"sea": 3, "land": 2})
    model = Model.load(name)
    for label in ("sea", "land"):
        (row,) = cli("generate", name, "--label", label, "-n", 40, "--seed", 3, "--json").json["samples"]
        assert row["label"] == label and row["text"] == model.generate(length=40, seed=3, label=label)
    rows = cli("generate", name, "--samples", 20, "-n", 5, "--seed", 3, "--json").json["samples"]
    assert {row["label"] for row in rows} == {"sea", "land"}
    cli_error(cli("generate", name, "--label", "lnd", "--json"), "unknown_label", suggestions=["land"])
    cli_error(cli("generate", record_model(), "--label", "sea", "--json"), "no_labels")


def test_interactive_sessions_write_one_record(cli):
    result = cli("generate", record_model(), "-i", "-n", 60, "--seed", 2, "-q", stdin=b"ab\n/text\n/quit\n")
    assert result.code == 0 and RECORD_MARK not in result.out


def test_kept_records_are_separated_as_in_the_training_text(cli):
    script = b"ab\n/keep\n/undo\n/keep\n/quit\n"
    result = cli("generate", record_model(), "-i", "-n", 60, "--seed", 2, "-q", stdin=script)
    first, second = Path("kept.txt").read_text().removesuffix("\n").split("\n%\n")
    assert result.code == 0 and first.startswith("ab") and second == "ab"


def test_separators_replace_those_of_records_and_lines(cli):
    lines = saved("lines.safetensors", rules=TextRules(lines=True))
    for name, default in ((record_model(), "\n%\n"), (lines, "\n")):
        arguments = ["generate", name, "--samples", 2, "-n", 9, "--seed", 3]
        texts = [row["text"] for row in cli(*arguments, "--json").json["samples"]]
        assert cli(*arguments, "-q").out == default.join(texts) + "\n"
        assert cli(*arguments, "-q", "--separator", "|").out == "|".join(texts) + "\n"


# --- arguments in Python


@pytest.mark.parametrize(
    "sources",
    ["To be, or not to be, that is the question. " * 60, "line\nline", ["Anna likes tea", "Bob likes rain"], b"text",
     None, [1], object(), {"a": 1}],
    ids=[f"sources{i}" for i in range(8)],
)  # fmt: skip
def test_texts_in_place_of_paths_are_refused_in_terms_of_python(sources):
    with raises_code("invalid_path", charloom.errors.CorpusError) as caught:
        charloom.train(sources, steps=3)
    assert "charloom.Corpus" in str(caught.value) and "echo" not in str(caught.value)
    with Path("open.txt").open("w") as file, raises_code("invalid_path", charloom.errors.CorpusError):
        Corpus.read(file)


def test_the_command_line_keeps_its_advice_for_a_shell(cli):
    assert "echo" in cli("train", "To be, or not to be\n" * 30).err


@pytest.mark.parametrize("text", [["Anna"], b"Anna", None, 1, ("a", "b")])
def test_a_corpus_takes_one_text(text):
    with raises_code("invalid_setting", charloom.errors.CorpusError, name="text"):
        Corpus(text)


def test_generation_arguments_are_checked():
    model = Model.load(saved())
    assert model.generate("ab", 5, stop=None, seed=1) == model.generate("ab", 5, seed=1)
    for arguments in ({"prompt": 1}, {"prompt": ["a", 1]}, {"prompt": b"a"}, {"stop": 1}, {"stop": [1]}, {"label": 1}):
        with pytest.raises(SettingsError):
            model.generate(**{"prompt": "a", "length": 3, **arguments})
    assert model.generate([], 5) == []
    with raises_code("invalid_setting", SettingsError, name="text"):
        model.score(["ab", "cd"])
    with raises_code("invalid_setting", SettingsError, name="texts"):
        model.score_many("ab")
