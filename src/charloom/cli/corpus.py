"""``charloom corpus``: look at a text before training on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from charloom.cli.console import encoding_option, json_option, print_json, print_text, quiet_option

if TYPE_CHECKING:
    from charloom.text.corpus import Corpus

_PREVIEW = 250  # characters, as in the tutorial
_PREVIEW_IDS = 13


@click.command("corpus")
@click.argument("sources", nargs=-1, required=True, metavar="CORPUS...")
@encoding_option
@json_option
@quiet_option
def command(sources: tuple[str, ...], encoding: str, as_json: bool, quiet: bool) -> None:
    """Look at a text: its length, its characters, its beginning, and what training on it would mean.

    CORPUS is a text file, a folder, a glob, - for standard input, or a named corpus: shakespeare, python-docs.
    """
    from charloom.cli.reading import read_corpus

    found = look(read_corpus(sources, encoding, quiet))
    if as_json:
        print_json(found)
    else:
        print_text(_page(found))


def look(corpus: Corpus) -> dict[str, Any]:
    """Return the facts of a corpus: the keys of ``--json``."""
    from charloom.plan.auto import Task, suit
    from charloom.plan.planner import steps_per_epoch
    from charloom.plan.recipes import RECIPES

    vocabulary, preview = corpus.vocabulary, corpus.text[:_PREVIEW]
    found = {
        "name": corpus.name,
        "characters": len(corpus.text),
        "distinct": len(vocabulary),
        "sha256": corpus.sha256,
        "vocabulary": vocabulary.characters,
        "preview": preview,
        "preview_ids": vocabulary.encode(preview[:_PREVIEW_IDS]).tolist(),
    }
    recipe = RECIPES["auto"]
    training = len(corpus.split(recipe.settings.val_fraction).training)
    if training <= recipe.settings.seq_length:
        return found | {"plan": None}
    settings, _ = suit(recipe.settings, Task(training, len(vocabulary)))
    return found | {
        "plan": {
            "recipe": recipe.name,
            "parameters": settings.architecture(len(vocabulary)).num_parameters,
            "training_characters": training,
            "steps_per_epoch": steps_per_epoch(settings, training),
            "minutes": settings.minutes,
        }
    }


def _page(found: dict[str, Any]) -> str:
    from charloom.text.vocabulary import preview

    ids, plan = found["preview_ids"], found["plan"]
    lines = [
        f"{found['name']}: {found['characters']:,} characters, {found['distinct']:,} distinct",
        f"vocabulary: {preview(found['vocabulary'], 120)}",
        f"ids: {found['preview'][: len(ids)]!r} -> {' '.join(map(str, ids))}",
    ]
    if plan is None:
        lines.append("plan: too short to train on with the default recipe")
    else:
        lines.append(
            f"plan: a model of {plan['parameters']:,} parameters, about {plan['minutes']:.2g} minutes; "
            f"{plan['steps_per_epoch']:,} steps are one pass over the {plan['training_characters']:,} characters "
            "to train on"
        )
    return "\n".join(lines) + "\n\n" + f"{found['preview'].rstrip()}\n"
