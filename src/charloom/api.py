"""The Python API for training: ``train`` and ``resume``."""

import reprlib
import textwrap
from collections.abc import Callable, Iterator, Sequence
from inspect import cleandoc
from os import PathLike
from typing import Any

from charloom._util.extras import require_torch
from charloom.data.corpus import Corpus
from charloom.errors import SettingsError
from charloom.inference.generation_options import json_value
from charloom.inference.model import Model, load
from charloom.planning.recipes import Recipe, load_recipe
from charloom.planning.settings import LENGTHS, accepted_values, check_arguments, check_lengths, setting_fields
from charloom.terminal.messages import print_notices
from charloom.training.events import FinishRecord, Record
from charloom.training.resume import open_run, resume_training
from charloom.training.run import run_training


def train(
    corpus: str | PathLike[str] | Sequence[str | PathLike[str]] | Corpus,
    *,
    recipe: str | Recipe = "auto",
    run: str | PathLike[str] | None = None,
    init: str | PathLike[str] | None = None,
    device: str = "auto",
    progress: bool = True,
    watch: Callable[[Record], object] | None = None,
    **settings: Any,
) -> Model:
    """Train a model on a text corpus, and return the best model of the run.

    Args:
        corpus: One or more text files, a folder, a glob, the name of a corpus, or a ``Corpus``.
        recipe: Name or file of a recipe, or a ``Recipe``.
        run: The run folder to create. Defaults to ``runs/<corpus name>``, with ``-2``, ``-3`` ... if it exists.
        init: Model that provides the initial weights, in any form that ``load`` accepts. The new model has the same
            layer sizes; new characters are added to the vocabulary.
        device: "auto", "cpu", "cuda" or "mps".
        progress: Whether to show the progress on stderr.
        watch: Function that is called with every record of the training; see ``charloom.training.events``.
        **settings: Any of the settings below, such as ``minutes=3``, ``epochs=10`` or ``hidden_size=512``. The defaults
            are those of ``Settings``; the recipe "auto" adapts most of them to the text, the time and the machine.

    Raises:
        InputError: If the corpus, a setting or the run folder is invalid.
        UnknownArgumentError: If an argument is unknown.
        MissingExtraError: If PyTorch is not installed.
        NonFiniteError: If the training diverges.
    """
    check_arguments(
        settings,
        [item.name for item in setting_fields()],
        ("recipe", "run", "init", "device", "progress", "watch"),
        {"output": "run", "output_dir": "run", "resume": "charloom.resume"},
    )
    if sum(name in settings for name in LENGTHS) == 1:  # several may come from another run, with 0 for those not used
        check_lengths(settings)
    _check_type("recipe", recipe, (str, Recipe), "the name or file of a recipe, or a Recipe")
    if run is not None:
        _check_type("run", run, (str, PathLike), "the path of a folder")
    _check_watch(progress, watch)
    require_torch()

    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    chosen = chosen.with_values(settings)
    text = corpus if isinstance(corpus, Corpus) else Corpus.read(corpus)
    init_model = None if init is None else load(init).saved
    print_notices(text.notices, quiet=not progress)
    records = run_training(text, chosen, None if run is None else str(run), device, init=init_model)
    return _run(records, progress, watch)


def resume(
    run: str | PathLike[str],
    corpus: str | PathLike[str] | Sequence[str | PathLike[str]] | Corpus | None = None,
    *,
    new_text: bool = False,
    device: str = "auto",
    progress: bool = True,
    watch: Callable[[Record], object] | None = None,
    **more: float,
) -> Model:
    """Resume a run exactly where it stopped, and return its best model.

    Args:
        run: The run folder.
        corpus: The corpus of the run, or a different one with ``new_text``. Defaults to the saved path of the corpus.
        new_text: Whether to continue on a different corpus. Its new characters are added to the vocabulary.
        device: "auto" for the device of the run, "cpu", "cuda" or "mps".
        progress: Whether to show the progress on stderr.
        watch: Function that is called with every record of the training; see ``charloom.training.events``.
        **more: Additional training length: one of ``minutes``, ``epochs`` and ``steps``.

    Raises:
        UnknownArgumentError: If an argument is unknown.
        InputError: If the run is invalid or already complete, or the corpus differs from that of the run.
        MissingExtraError: If PyTorch is not installed.
        NonFiniteError: If the training diverges.
    """
    check_arguments(more, LENGTHS, ("new_text", "device", "progress", "watch"))
    check_lengths(more)
    _check_type("run", run, (str, PathLike), "the path of a run folder")
    _check_type("new_text", new_text, bool, "True or False")
    _check_watch(progress, watch)
    require_torch()

    saved = open_run(str(run))
    source = saved.read_corpus() if corpus is None else corpus
    text = source if isinstance(source, Corpus) else Corpus.read(source)
    print_notices(text.notices, quiet=not progress)
    return _run(resume_training(saved, text, more, new_text, device), progress, watch)


def _list_settings() -> str:
    """Return the section of a docstring that lists all settings with default, accepted values and meaning."""
    entries = []
    for item in setting_fields():
        accepted = accepted_values(item)
        description = (
            f"{item.metadata['help']}. Default: {item.default!r}.{f' Accepted: {accepted}.' if accepted else ''}"
        )
        entries.append(textwrap.fill(f"- ``{item.name}``: {description}", 100, subsequent_indent="  "))
    return "\n\nSettings, all optional:\n\n" + "\n".join(entries) + "\n"


if train.__doc__:  # python -OO removes docstrings
    train.__doc__ = cleandoc(train.__doc__) + _list_settings()


def _check_watch(progress: object, watch: object) -> None:
    _check_type("progress", progress, bool, "True or False")
    if watch is not None and not callable(watch):
        raise _wrong_type("watch", watch, "a function that takes a record, or None")


def _check_type(name: str, value: object, kinds: type | tuple[type, ...], accepted: str) -> None:
    """Raise ``SettingsError`` if an argument is of another type."""
    if not isinstance(value, kinds):
        raise _wrong_type(name, value, accepted)


def _wrong_type(name: str, value: object, accepted: str) -> SettingsError:
    return SettingsError(
        f"{name} must be {accepted}, got {reprlib.repr(value)}.",
        code="invalid_setting",
        name=name,
        value=json_value(value),
    )


def _run(records: Iterator[Record], progress: bool, watch: Callable[[Record], object] | None) -> Model:
    """Train with progress output, and return the best model."""
    from charloom.terminal.training_view import make_view  # start-up time: imports rich

    folder = ""
    with make_view(quiet=not progress) as view:
        for record in records:
            view.show(record)
            if watch is not None:
                watch(record)
            if isinstance(record, FinishRecord):
                folder = record.run
    return load(folder)
