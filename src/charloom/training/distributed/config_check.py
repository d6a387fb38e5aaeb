"""Whether processes that train together were given the same: one that was not would train another model beside them."""

import hashlib
import json
from collections.abc import Mapping
from platform import node
from typing import Any

from charloom._version import __version__
from charloom.data.corpus import Corpus
from charloom.errors import SettingsError
from charloom.model.file.model_file import SavedModel
from charloom.planning.recipes import Recipe
from charloom.training.distributed.process_group import Ranks


def check_agreed(ranks: Ranks, given: Mapping[str, Any]) -> None:
    """Compare what this process was given with what the first one was.

    Args:
        ranks: The processes, all of which have to ask.
        given: Plain JSON data by what it is.

    Raises:
        SettingsError: If this process was given something else.
    """
    own, first = json.loads(json.dumps(given)), ranks.from_first(dict(given))
    for name in {**first, **own}:
        if own.get(name) != first.get(name):
            raise SettingsError(
                f"The processes were not given the same {name}: the first has {first.get(name)}; this one ({node()}) "
                f"has {own.get(name)}. Start all of them with the same command, on the same files."
            )


def check_beginning(ranks: Ranks, corpus: Corpus, recipe: Recipe, init: SavedModel | None) -> None:
    """Compare all that a training begins with; see ``check_agreed``."""
    if ranks.size == 1:
        return  # digests of large models take a moment
    text = f"{len(corpus):,} {corpus.format.unit}s{' in lines' if corpus.format.lines else ''}, {corpus.sha256[:16]}"
    chosen = {"recipe": recipe.name, "choice of settings": sorted(recipe.fixed), **recipe.settings.to_dict()}
    model = None if init is None else _digest(init)
    check_agreed(ranks, {"version of charloom": __version__, "text": text, **chosen, "model": model})


def _digest(model: SavedModel) -> str:
    found = hashlib.sha256(model.vocabulary.characters.encode("utf-8", "surrogatepass"))
    for name in sorted(model.weights):
        found.update(model.weights[name].tobytes())
    return found.hexdigest()[:16]
