"""Check that all processes of a training were given the same text, settings and model."""

import json
from collections.abc import Mapping
from platform import node
from typing import Any

from charloom._version import __version__
from charloom.data.corpus import Corpus
from charloom.errors import SettingsError
from charloom.model.file.model_file import SavedModel
from charloom.planning.recipes import Recipe
from charloom.training.distributed.process_group import ProcessGroup


def check_agreed(process_group: ProcessGroup, given: Mapping[str, Any]) -> None:
    """Compare this process' configuration with that of the first process.

    Args:
        process_group: The processes of the training; all of them must call this.
        given: Plain JSON data by its name in messages.

    Raises:
        SettingsError: If this process has another configuration.
    """
    own, first = json.loads(json.dumps(given)), process_group.broadcast(dict(given))
    for name in {**first, **own}:
        if own.get(name) != first.get(name):
            raise SettingsError(
                f"The processes were started with different values of {name}: {first.get(name)} in process 1, "
                f"{own.get(name)} in process {process_group.rank + 1} on {node()}. Start all processes with the same "
                "command and the same files.",
                code="processes_differ",
                name=name,
                first=first.get(name),
                value=own.get(name),
                process=process_group.rank + 1,
            )


def check_beginning(process_group: ProcessGroup, corpus: Corpus, recipe: Recipe, init: SavedModel | None) -> None:
    """Compare text, recipe and initial model; see ``check_agreed``."""
    if process_group.size == 1:
        return  # digests of large models take a moment
    text = f"{len(corpus):,} {corpus.format.unit}s{' in lines' if corpus.format.lines else ''}, {corpus.sha256[:16]}"
    chosen = {"recipe": recipe.name, "choice of settings": sorted(recipe.fixed), **recipe.settings.to_dict()}
    model = None if init is None else init.content_digest()[:16]
    check_agreed(process_group, {"version of charloom": __version__, "text": text, **chosen, "model": model})
