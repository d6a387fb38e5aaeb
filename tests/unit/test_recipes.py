import pytest

from charloom.errors import SettingsError
from charloom.planning.recipes import RECIPES, load_recipe, write_recipe


@pytest.mark.parametrize(("name", "cell", "parameters"), [
    ("tutorial-gru", "gru", 16_640 + 3_938_304 + 66_625), ("tutorial-lstm", "lstm", 16_640 + 5_246_976 + 66_625),
])  # fmt: skip
def test_the_tutorial_recipes_have_the_tutorials_values(name, cell, parameters):
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
    # docs/results.md says why
    assert (s.reset_state, s.shuffle) == {"gru": ("never", "epoch"), "lstm": ("window", "once")}[cell]
    assert (s.schedule, s.warmup_steps, s.max_grad_norm) == ("constant", 0, 0)
    assert (s.dropout_input, s.dropout_hidden, s.dropout_output, s.weight_decay) == (0, 0, 0, 0)
    assert (s.epochs, s.val_fraction, s.precision) == (10, 0, "auto")


@pytest.mark.parametrize("name", RECIPES)
def test_a_written_recipe_is_read_as_it_was(tmp_path, name):
    settings = RECIPES[name].settings.with_values({"steps": 7, "seed": 5})
    path = tmp_path / "mine.toml"
    path.write_text(write_recipe(name, settings, {"corpus": "weaving"}), encoding="utf-8")
    read = load_recipe(str(path))
    assert read.settings == settings and read.name == name


def test_a_short_file_changes_only_what_it_names(tmp_path):
    (tmp_path / "mine.toml").write_text('recipe = "tutorial-lstm"\nhidden_size = 99\n')
    expected = RECIPES["tutorial-lstm"].settings.with_values({"hidden_size": 99})
    assert load_recipe(str(tmp_path / "mine.toml")).settings == expected


def test_a_complete_file_of_a_recipe_of_ones_own_builds_on_nothing(tmp_path):
    settings = RECIPES["auto"].settings.with_values({"steps": 7})
    (tmp_path / "mine.toml").write_text(write_recipe("mine", settings, {}))
    read = load_recipe(str(tmp_path / "mine.toml"))
    assert (read.name, read.settings) == ("mine", settings)


@pytest.mark.parametrize(("content", "message"), [
    ("hidden_size = ", "not valid TOML"), ("hidden = 3", "Did you mean hidden_size"), ("cell = 3", "must be text"),
    ('recipe = "none"', "builds on 'none'"), ("steps = 3\nepochs = 2", "Exactly one"),
    ("learning_rate = nan", "learning_rate must be"), ("recipe = [1]", r"builds on \[1\]; known are auto"),
])  # fmt: skip
def test_a_bad_file_is_explained(tmp_path, content, message):
    (tmp_path / "mine.toml").write_text(content)
    with pytest.raises(SettingsError, match=message):
        load_recipe(str(tmp_path / "mine.toml"))


def test_a_complete_file_that_is_bad_is_named(tmp_path):
    complete = write_recipe("mine", RECIPES["auto"].settings, {})
    (tmp_path / "mine.toml").write_text(complete.replace('cell = "gru"', 'cell = "grue"'))
    with pytest.raises(SettingsError, match=r"In the recipe file .*mine\.toml: cell must be one of gru, lstm"):
        load_recipe(str(tmp_path / "mine.toml"))


@pytest.mark.parametrize(("name", "message"), [
    ("tutorial-gro", r"Did you mean tutorial-gru\?"), ("x", "Known are auto"), ("none.toml", "cannot be read"),
])  # fmt: skip
def test_an_unknown_recipe_is_explained(name, message):
    with pytest.raises(SettingsError, match=message):
        load_recipe(name)
