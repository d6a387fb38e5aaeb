import math
from dataclasses import fields

import pytest

from charloom.errors import SettingsError
from charloom.planning.settings import Settings, describe_setting, parse_value, setting_fields
from support.errors import raises_code


def test_every_setting_says_what_it_means_and_what_it_accepts():
    for item in setting_fields():
        assert len(item.metadata["help"]) > 10
        assert item.metadata["choices"] or item.metadata["minimum"] is not None or item.type == "str"
        assert describe_setting(item).endswith(f"[{item.default}]")


@pytest.mark.parametrize(("name", "value"), [
    ("cell", "rnn"), ("hidden_size", 0), ("hidden_size", 2.5), ("hidden_size", True), ("learning_rate", 0.0),
    ("learning_rate", math.nan), ("dropout_output", 1.0), ("seed", -1), ("precision", "float8"), ("batch_size", "x"),
    ("minutes", math.inf), ("val_fraction", -0.1),
])  # fmt: skip
def test_values_out_of_range_are_refused_by_name(name, value):
    with raises_code("invalid_setting", SettingsError, name=name):
        Settings().with_values({name: value})


def test_the_ends_of_each_range_are_accepted_and_what_lies_beyond_is_not():
    for item in fields(Settings):
        least, most = item.metadata["minimum"], item.metadata["maximum"]
        if item.metadata["choices"] or item.name in ("steps", "epochs", "minutes"):
            continue
        kind = type(item.default)
        for value in (least, most) if most < math.inf else (least,):
            assert getattr(Settings().with_values({item.name: kind(value)}), item.name) == value
        limits = {"minimum": least, "maximum": None if most == math.inf else most}
        with raises_code("invalid_setting", SettingsError, name=item.name, value=kind(least - 1), **limits):
            Settings().with_values({item.name: kind(least - 1)})


def test_text_becomes_the_settings_type():
    changed = Settings().with_values({"hidden_size": "12", "learning_rate": "1e-2", "cell": "lstm", "minutes": 2})
    assert (changed.hidden_size, changed.learning_rate, changed.cell, changed.minutes) == (12, 0.01, "lstm", 2.0)


@pytest.mark.parametrize(("name", "text"), [("hidden_size", "1.5"), ("learning_rate", "fast"), ("steps", "")])
def test_text_that_is_no_number_is_refused(name, text):
    expected = "float" if name == "learning_rate" else "int"
    with raises_code("invalid_setting", SettingsError, name=name, value=text, expected=expected):
        parse_value(name, text)


def test_an_unknown_setting_names_the_nearest():
    with raises_code("unknown_setting", SettingsError, name="hiden_size", suggestions=["hidden_size"]):
        Settings().with_values({"hiden_size": 3})


def test_one_length_replaces_another():
    changed = Settings().with_values({"epochs": 3})
    assert (changed.epochs, changed.steps, changed.minutes) == (3, 0, 0.0)


@pytest.mark.parametrize("lengths", [{"steps": 1, "epochs": 1}, {"minutes": 0}])
def test_a_training_has_one_length(lengths):
    with raises_code("ambiguous_length", SettingsError):
        Settings().with_values(lengths)
