"""Config check across ranks: all processes of a training run must have the same text, settings and initial model."""

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


def check_same_config(process_group: ProcessGroup, config: Mapping[str, Any]) -> None:
    """Check that this process has the same configuration as the first process.

    Args:
        process_group: The processes of the training; all of them must call this function.
        config: Plain JSON values by the name that error messages use.

    Raises:
        SettingsError: If a value differs.
    """
    own, first = json.loads(json.dumps(config)), process_group.broadcast(dict(config))
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


def check_same_request(process_group: ProcessGroup, corpus: Corpus, recipe: Recipe, init: SavedModel | None) -> None:
    """Check that all processes have the same text, recipe and initial model; see ``check_same_config``."""
    if process_group.size == 1:
        return  # hashing a large model takes time
    parts = {None: "", "\n": " in lines"}.get(corpus.format.mark, " in records")
    text = f"{len(corpus):,} {corpus.format.unit}s{parts}, {corpus.sha256[:16]}"
    choices = {"recipe": recipe.name, "chosen settings": sorted(recipe.fixed), **recipe.settings.to_dict()}
    model = None if init is None else init.content_digest()[:16]
    check_same_config(process_group, {"charloom version": __version__, "text": text, **choices, "initial model": model})
