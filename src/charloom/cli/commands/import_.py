"""``charloom import``: convert a Keras model."""

from __future__ import annotations

from pathlib import Path

import click

from charloom.interop.keras.importer import import_keras
from charloom.model.file.model_file import save_model
from charloom.model.file.run_folder import check_new_file
from charloom.terminal.messages import json_option, print_json, quiet_option, say, say_all

_SOURCES = ("keras",)


@click.command("import")
@click.argument("file")
@click.option("--from", "source", required=True, type=click.Choice(_SOURCES), help="Whose model it is.")
@click.option(
    "--vocabulary",
    metavar="TEXT",
    help="What its ids stand for: the text it was trained on (its sorted distinct characters are the ids 0, 1, 2 ...), "
    'a .json list of characters or object {"a": 0}, or a charloom model.',
)
@click.option("-o", "--output", required=True, help="The model file to write, which must not exist.")
@json_option
@quiet_option
def command(file: str, source: str, vocabulary: str | None, output: str, as_json: bool, quiet: bool) -> None:
    """Make a model of Keras a model of charloom: embedding, GRU or LSTM layers, dense logits.

    FILE is what Keras saves: .keras, .h5, .weights.h5, or, where TensorFlow is installed, a checkpoint of it. Nothing
    in it is executed. With Keras' [UNK] as id 0 the text has one character fewer than the model: that is seen.

    \b
    charloom import tutorial.keras --from keras --vocabulary shakespeare.txt -o tutorial.safetensors
    """
    target = Path(output)
    check_new_file(target)
    imported = import_keras(file, vocabulary)
    save_model(target, imported.saved)
    say_all(imported.notices, quiet)
    a = imported.saved.architecture
    say(f"{target}: {a.in_words}, {a.num_parameters:,} parameters, {a.vocabulary_size:,} characters", quiet)
    if as_json:
        architecture, notices = a.to_dict(), list(imported.notices)
        print_json(
            {"file": str(target), "parameters": a.num_parameters, "architecture": architecture, "notices": notices}
        )
