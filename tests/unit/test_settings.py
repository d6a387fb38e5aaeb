import math
from dataclasses import fields

import pytest

from charloom.errors import SettingsError
from charloom.planning.settings import Settings, describe_setting, parse_value, setting_fields
from support.errors import raises_code


def test_every_setting_has_help_and_accepted_values():
    for item in setting_fields():
        assert len(item.metadata["help"]) > 10
        assert item.metadata["choices"] or item.metadata["minimum"] is not None or item.type is str
        assert describe_setting(item).endswith(f"[{item.default}]")


@pytest.mark.parametrize(("name", "value"), [
    ("cell", "rnn"), ("hidden_size", 0), ("hidden_size", 2.5), ("hidden_size", True), ("learning_rate", 0.0),
    ("learning_rate", math.nan), ("dropout_output", 1.0), ("seed", -1), ("precision", "float8"), ("batch_size", "x"),
    ("minutes", math.inf), ("val_fraction", -0.1),
])  # fmt: skip
def test_invalid_values_raise(name, value):
    with raises_code("invalid_setting", SettingsError, name=name):
        Settings().with_values({name: value})


@pytest.mark.parametrize(
    ("name", "value", "numbers"), [("minutes", -1.0, ["1000000", "-1."]), ("seed", -1, [str(2**53 - 1)])]
)
def test_limits_are_shown_in_digits(name, value, numbers):
    with raises_code("invalid_setting", SettingsError, name=name, value=value) as caught:
        Settings().with_values({name: value})
    assert all(number in str(caught.value) for number in numbers) and "e+" not in str(caught.value)


def test_range_limits_are_inclusive():
    for item in fields(Settings):
        minimum, maximum = item.metadata["minimum"], item.metadata["maximum"]
        if item.metadata["choices"] or item.name in ("steps", "epochs", "minutes", "plan_changes"):
            continue
        kind = type(item.default)
        for value in (minimum, maximum) if maximum < math.inf else (minimum,):
            assert getattr(Settings().with_values({item.name: kind(value)}), item.name) == value
        limits = {"minimum": minimum, "maximum": None if maximum == math.inf else maximum}
        with raises_code("invalid_setting", SettingsError, name=item.name, value=kind(minimum - 1), **limits):
            Settings().with_values({item.name: kind(minimum - 1)})


def test_strings_are_converted_to_the_type_of_the_setting():
    changed = Settings().with_values({"hidden_size": "12", "learning_rate": "1e-2", "cell": "lstm", "minutes": 2})
    assert (changed.hidden_size, changed.learning_rate, changed.cell, changed.minutes) == (12, 0.01, "lstm", 2.0)


@pytest.mark.parametrize(("name", "text"), [("hidden_size", "1.5"), ("learning_rate", "fast"), ("steps", "")])
def test_string_that_is_not_a_number_raises(name, text):
    expected = "float" if name == "learning_rate" else "int"
    with raises_code("invalid_setting", SettingsError, name=name, value=text, expected=expected):
        parse_value(name, text)


def test_unknown_setting_suggests_closest_name():
    with raises_code("unknown_setting", SettingsError, name="hiden_size", suggestions=["hidden_size"]):
        Settings().with_values({"hiden_size": 3})


def test_new_length_replaces_the_old_one():
    changed = Settings().with_values({"epochs": 3})
    assert (changed.epochs, changed.steps, changed.minutes) == (3, 0, 0.0)


@pytest.mark.parametrize("lengths", [{"steps": 1, "epochs": 1}, {"minutes": 0}])
def test_exactly_one_length_is_required(lengths):
    with raises_code("ambiguous_length", SettingsError):
        Settings().with_values(lengths)
