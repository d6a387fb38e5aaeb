"""Recipes: named, complete sets of settings, and recipe files in TOML."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from charloom._util.suggest import did_you_mean, suggestions
from charloom.errors import SettingsError
from charloom.planning.settings import Settings, check_lengths, describe_setting, setting_fields

_TUTORIAL = Settings(
    cell="gru",
    num_layers=1,
    hidden_size=1024,
    embedding_size=256,
    batching="windows",
    seq_length=100,
    batch_size=64,
    shuffle_buffer=10_000,
    shuffle="epoch",
    reset_state="never",  # as in the tutorial, although a shuffled window then starts from an unrelated state
    optimizer="adam",
    learning_rate=1e-3,
    adam_beta1=0.9,
    adam_beta2=0.999,
    adam_epsilon=1e-7,
    weight_decay=0.0,
    max_grad_norm=0.0,
    schedule="constant",
    warmup_steps=0,
    dropout_input=0.0,
    dropout_hidden=0.0,
    dropout_output=0.0,
    epochs=10,
    minutes=0.0,
    patience=0,
    keep_checkpoints=0,
    val_fraction=0.0,
)


@dataclass(frozen=True)
class Recipe:
    """A named set of settings.

    Attributes:
        name: Name of a built-in recipe, or the name given in a recipe file.
        about: One-line description.
        settings: All settings.
        fixed: Names of settings that the user chose; they are never adapted to a corpus.
    """

    name: str
    about: str
    settings: Settings
    fixed: frozenset[str] = frozenset()

    def with_values(self, values: Mapping[str, Any]) -> "Recipe":
        """Return the recipe with settings that the user chose; see ``Settings.with_values``.

        Raises:
            SettingsError: If a name is unknown, or a value is invalid.
        """
        return replace(self, settings=self.settings.with_values(values), fixed=self.fixed | values.keys())


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "auto",
            "default: size, regularization and length are chosen for the text, the time and the machine",
            Settings(),
        ),
        Recipe("tutorial-gru", "the settings of the TensorFlow tutorial's GRU version", _TUTORIAL),
        Recipe(
            "best",
            "auto with 90 minutes of training: a larger, more regularized model",
            Settings(minutes=90.0),
            frozenset({"minutes"}),
        ),
        Recipe(
            "tutorial-lstm",
            "the settings of the TensorFlow tutorial's LSTM version",
            # The tutorial's code carries the state and shuffles every epoch. Its published figures show that the state
            # was not carried and that the windows were shuffled once (docs/results.md).
            _TUTORIAL.with_values({"cell": "lstm", "reset_state": "window", "shuffle": "once"}),
        ),
    )
}


PLANNED = ("auto", "best")
"""Recipes whose settings are adapted to the text, the time and the machine; all others are used unchanged."""


def load_recipe(argument: str) -> Recipe:
    """Return a built-in recipe, or read one from a TOML file.

    Settings that the file omits have the values of the recipe that its key ``recipe`` names (default: ``auto``).

    Args:
        argument: Name of a recipe, or path of a file.

    Raises:
        SettingsError: If the recipe is unknown, or the file cannot be read or is invalid.
    """
    if argument in RECIPES:
        return RECIPES[argument]
    path = Path(argument)
    if path.suffix == ".toml" or path.is_file():
        return _read(path)
    raise SettingsError(
        f"Unknown recipe {argument!r}.{did_you_mean(argument, RECIPES)} Pass one of {', '.join(RECIPES)}, or the path "
        "of a .toml file.",
        code="unknown_recipe",
        name=argument,
        suggestions=suggestions(argument, RECIPES),
        accepted=list(RECIPES),
    )


def choose_recipe(name: str, assignments: Sequence[str], options: Mapping[str, float | None]) -> Recipe:
    """Return a recipe with the settings given on the command line.

    Args:
        name: Name or file of the recipe.
        assignments: KEY=VALUE arguments of ``--set``.
        options: Values of the settings that have an option, by setting name; None if the option was not given.

    Raises:
        SettingsError: If a setting is unknown, invalid or set twice.
    """
    recipe = load_recipe(name)
    values = parse_assignments(assignments)
    for key, number in options.items():
        if number is not None:
            if key in values:
                option = f"--{key.replace('_', '-')}"
                raise SettingsError(
                    f"{key} is set twice: with {option} and with --set. Pass only one of them.",
                    code="duplicate_setting",
                    name=key,
                    options=[option, "--set"],
                )
            values[key] = number
    check_lengths(values)
    return recipe.with_values(values)


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Parse the KEY=VALUE arguments of ``--set`` into unconverted strings by setting name.

    Raises:
        SettingsError: If an argument has no "=", or a setting is set twice.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise SettingsError(
                f"Invalid --set {assignment!r}: expected KEY=VALUE, such as --set hidden_size=512.",
                code="invalid_assignment",
                value=assignment,
            )
        if key in values:
            raise SettingsError(
                f"{key} is set twice with --set. Pass it only once.",
                code="duplicate_setting",
                name=key,
                options=["--set", "--set"],
            )
        values[key] = value
    return values


def write_recipe(name: str, settings: Settings, facts: Mapping[str, str | int | float]) -> str:
    """Return the content of a recipe file, with the help text of every setting as a comment.

    Args:
        name: Name of the recipe.
        settings: All settings.
        facts: Facts about the run, written as comments at the top.
    """
    lines = [f"# {key}: {value}" for key, value in facts.items()]
    lines += [f"recipe = {json.dumps(name)}", ""]
    values = settings.to_dict()
    for item in setting_fields():
        if item.name not in values:
            continue
        lines.append(f"# {describe_setting(item)}")
        lines.append(f"{item.name} = {_toml(values[item.name])}")
    return "\n".join(lines) + "\n"


def _read(path: Path) -> Recipe:
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = str(error.strerror or error)
        raise SettingsError(
            f"Cannot read the recipe file {path}: {reason}.", code="unreadable_recipe", path=str(path), reason=reason
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"The recipe file {path} is not valid TOML: {error}.",
            code="invalid_toml",
            path=str(path),
            reason=str(error),
        ) from None
    base = values.pop("recipe", "auto")
    known = RECIPES.get(base) if isinstance(base, str) else None
    if known is None and isinstance(base, str) and values.keys() >= Settings().to_dict().keys():
        known = Recipe(base, f"from {path.name}", Settings())  # complete: no base recipe needed
    if known is None:
        raise SettingsError(
            f"The recipe file {path} is based on the unknown recipe {base!r}. Set recipe to one of "
            f"{', '.join(RECIPES)}.",
            code="unknown_base_recipe",
            path=str(path),
            name=str(base),
            accepted=list(RECIPES),
        )
    try:
        return known.with_values(values)
    except SettingsError as error:
        raise error.prefixed(f"In the recipe file {path}: ") from None


def _toml(value: str | float) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(value)
