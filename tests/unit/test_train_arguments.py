"""The arguments of ``charloom.train`` and ``charloom.resume``: names, types, and what ``help`` shows."""

import inspect
from pathlib import Path

import pytest

import charloom
from charloom.errors import CorpusError, RunError, SettingsError, UnknownArgumentError
from charloom.planning.settings import OTHER_NAMES, accepted_values, setting_fields
from support.errors import raises_code


@pytest.mark.parametrize(
    ("name", "suggestions"),
    [
        ("epoch", ["epochs"]),
        ("hiden_size", ["hidden_size"]),
        ("lr", ["learning_rate"]),
        ("max_steps", ["steps"]),
        ("devise", ["device"]),
        ("frobnicate", []),
        ("dropout", ["dropout_input", "dropout_hidden", "dropout_output"]),
        ("plan", []),
        ("plan_change", []),
        ("output", ["run"]),
        ("resume", ["charloom.resume"]),
    ],
)
def test_unknown_arguments_of_train_are_type_errors_with_a_suggestion(name, suggestions):
    with raises_code("unknown_setting", UnknownArgumentError, name=name, suggestions=suggestions) as caught:
        charloom.train("none.txt", **{name: 1})
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize("minutes", [0, -1])
def test_a_length_of_0_has_the_same_error_as_on_the_command_line(minutes, quick_cli, tmp_path):
    with raises_code("invalid_setting", SettingsError, name="minutes", value=minutes) as caught:
        charloom.train("none.txt", minutes=minutes)
    result = quick_cli("train", "none.txt", "--minutes", str(minutes))
    assert result.code == 2 and str(caught.value) in result.err


def test_unknown_arguments_of_resume_are_not_ignored():
    with raises_code("unknown_setting", UnknownArgumentError, name="minute", suggestions=["minutes"]):
        charloom.resume("none", minute=1)
    with raises_code("unknown_setting", UnknownArgumentError, name="hidden_size", suggestions=[]):
        charloom.resume("none", hidden_size=1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("minutes", "1"),
        ("minutes", True),
        ("minutes", None),
        ("epochs", 1.5),
        ("hidden_size", "big"),
        ("cell", 5),
        ("cell", "rnn"),
        ("recipe", 5),
        ("run", 5),
        ("progress", "no"),
        ("watch", 5),
    ],
)
def test_wrong_types_are_reported_with_the_name_of_the_argument(name, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("some text\n" * 100)
    with raises_code("invalid_setting", SettingsError, name=name, value=value):
        charloom.train("a.txt", **{name: value})
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("name", "value"), [("minutes", "1"), ("steps", True), ("new_text", 1), ("watch", 5), ("steps", 0)]
)
def test_wrong_types_of_resume_are_reported(name, value):
    with raises_code("invalid_setting", SettingsError, name=name, value=value):
        charloom.resume("none", **{name: value})
    with raises_code("invalid_setting", SettingsError, name="run", value=5):
        charloom.resume(5)


def test_resume_suggests_similar_run_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs/poems").mkdir(parents=True)
    Path("runs/poems/metrics.jsonl").touch()
    with raises_code("not_a_run_folder", RunError, suggestions=[str(Path("runs/poems"))]):
        charloom.resume("runs/peoms")


@pytest.mark.parametrize("corpus", ["two words", "", "It was a\ndark night"])
def test_a_text_in_place_of_a_path_gets_advice_for_python(corpus):
    with pytest.raises(CorpusError) as caught:
        charloom.train(corpus, steps=1)
    assert "charloom.Corpus(text)" in str(caught.value) and "echo" not in str(caught.value)


def test_help_lists_all_settings_with_default_range_and_meaning():
    text = " ".join(inspect.getdoc(charloom.train).split())
    for item in setting_fields():
        entry = f"``{item.name}``: {item.metadata['help']}. Default: {item.default!r}."
        accepted = accepted_values(item)
        assert entry + (f" Accepted: {accepted}." if accepted else "") in text


def test_names_of_other_libraries_stand_for_settings_and_are_not_settings():
    names = {item.name for item in setting_fields()}
    assert set(OTHER_NAMES.values()) <= names and names.isdisjoint(OTHER_NAMES)
