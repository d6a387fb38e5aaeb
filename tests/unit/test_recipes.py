import pytest

from charloom.errors import SettingsError
from charloom.planning.recipes import RECIPES, load_recipe, write_recipe
from support.errors import raises_code


@pytest.mark.parametrize(("name", "cell", "parameters"), [
    ("tutorial-gru", "gru", 16_640 + 3_938_304 + 66_625), ("tutorial-lstm", "lstm", 16_640 + 5_246_976 + 66_625),
])  # fmt: skip
def test_tutorial_recipes_have_the_settings_of_the_tutorial(name, cell, parameters):
    s = RECIPES[name].settings
    assert s.architecture(65).num_parameters == parameters
    assert (s.cell, s.hidden_size, s.embedding_size, s.num_layers) == (cell, 1024, 256, 1)
    assert (s.batching, s.seq_length, s.batch_size, s.shuffle_buffer) == ("windows", 100, 64, 10_000)
    assert (s.optimizer, s.learning_rate, s.adam_beta1, s.adam_beta2, s.adam_epsilon) == (
        "adam",
        1e-3,
        0.9,
        0.999,
        1e-7,
    )
    # docs/results.md gives the reasons
    assert (s.reset_state, s.shuffle) == {"gru": ("never", "epoch"), "lstm": ("window", "once")}[cell]
    assert (s.schedule, s.warmup_steps, s.max_grad_norm) == ("constant", 0, 0)
    assert (s.dropout_input, s.dropout_hidden, s.dropout_output, s.weight_decay) == (0, 0, 0, 0)
    assert (s.epochs, s.val_fraction, s.precision) == (10, 0, "auto")


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_file_round_trip(tmp_path, name):
    settings = RECIPES[name].settings.with_values({"steps": 7, "seed": 5})
    path = tmp_path / "mine.toml"
    path.write_text(write_recipe(name, settings, {"corpus": "weaving"}), encoding="utf-8")
    read = load_recipe(str(path))
    assert read.settings == settings and read.name == name


def test_partial_recipe_file_changes_only_its_settings(tmp_path):
    (tmp_path / "mine.toml").write_text('recipe = "tutorial-lstm"\nhidden_size = 99\n')
    expected = RECIPES["tutorial-lstm"].settings.with_values({"hidden_size": 99})
    assert load_recipe(str(tmp_path / "mine.toml")).settings == expected


def test_complete_recipe_file_needs_no_base_recipe(tmp_path):
    settings = RECIPES["auto"].settings.with_values({"steps": 7})
    (tmp_path / "mine.toml").write_text(write_recipe("mine", settings, {}))
    read = load_recipe(str(tmp_path / "mine.toml"))
    assert (read.name, read.settings) == ("mine", settings)


@pytest.mark.parametrize(("content", "code", "data"), [
    ("hidden_size = ", "invalid_toml", {}),
    ("hidden = 3", "unknown_setting", {"name": "hidden", "suggestions": ["hidden_size"]}),
    ("cell = 3", "invalid_setting", {"name": "cell", "value": 3, "expected": "str"}),
    ('recipe = "none"', "unknown_base_recipe", {"name": "none", "accepted": list(RECIPES)}),
    ("steps = 3\nepochs = 2", "ambiguous_length", {"steps": 3, "epochs": 2}),
    ("learning_rate = nan", "invalid_setting", {"name": "learning_rate", "value": "nan"}),
    ("recipe = [1]", "unknown_base_recipe", {"name": "[1]", "accepted": list(RECIPES)}),
])  # fmt: skip
def test_invalid_recipe_file_raises(tmp_path, content, code, data):
    path = tmp_path / "mine.toml"
    path.write_text(content)
    with raises_code(code, SettingsError, **data) as caught:
        load_recipe(str(path))
    assert str(path) in str(caught.value)


def test_invalid_setting_in_complete_recipe_file_names_the_file(tmp_path):
    path = tmp_path / "mine.toml"
    complete = write_recipe("mine", RECIPES["auto"].settings, {})
    path.write_text(complete.replace('cell = "gru"', 'cell = "grue"'))
    with raises_code("invalid_setting", SettingsError, name="cell", value="grue", accepted=["gru", "lstm"]) as caught:
        load_recipe(str(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("name", "code", "data"), [
    ("tutorial-gro", "unknown_recipe", {"name": "tutorial-gro", "suggestions": ["tutorial-gru"]}),
    ("x", "unknown_recipe", {"name": "x", "suggestions": [], "accepted": list(RECIPES)}),
    ("none.toml", "unreadable_recipe", {"path": "none.toml"}),
])  # fmt: skip
def test_unknown_recipe_raises(name, code, data):
    with raises_code(code, SettingsError, **data):
        load_recipe(name)
