"""Deprecated import paths still work, and warn with the new path."""

import importlib

import pytest

from charloom import _deprecated


@pytest.mark.parametrize(
    ("old", "new"),
    [*_deprecated._NAMES.items(), *((f"{old}.*", f"{new}.*") for old, new in _deprecated._MODULES.items())],
)
def test_old_import_path_works_and_warns(old, new):
    module, _, name = old.rpartition(".")
    home, _, now = new.rpartition(".")
    if name == "*":
        name = now = next(n for n in vars(importlib.import_module(home)) if not n.startswith("_"))
    old_module = importlib.import_module(module)
    with pytest.warns(DeprecationWarning, match=module.replace(".", r"\.")) as caught:
        value = getattr(old_module, name)
    assert value is getattr(importlib.import_module(home), now)
    assert caught[0].filename == __file__


def test_import_statement_warns_at_its_line():
    with pytest.warns(DeprecationWarning) as caught:
        from charloom.text.vocabulary import Vocabulary
    assert Vocabulary.__module__ == "charloom.data.vocabulary.characters"
    assert caught[0].filename == __file__


@pytest.mark.parametrize("name", ["charloom.text.nothing", "charloom.nothing"])
def test_unknown_module_is_not_found(name):
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(name)


def test_unknown_name_in_an_old_module_is_an_attribute_error():
    module = importlib.import_module("charloom.runtime.options")
    with pytest.raises(AttributeError):
        _ = module.nothing
