"""``charloom import``: convert a Keras model to a charloom model."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from charloom.cli.text_options import decoding_options
from charloom.data.text_format import TextFormat
from charloom.interop.keras.importer import import_keras
from charloom.model.file.model_file import save_model
from charloom.model.file.run_folder import check_new_file
from charloom.terminal.messages import json_option, print_json, print_message, print_notices, quiet_option

_SOURCES = ("keras",)


@click.command("import")
@click.argument("file")
@click.option("--from", "source", required=True, type=click.Choice(_SOURCES), help="Format of FILE.")
@click.option(
    "--vocabulary",
    metavar="TEXT",
    help="Source of the vocabulary: the training text (ids number its sorted distinct characters), a .json file with "
    'a list of characters or an object {"a": 0}, or a charloom model.',
)
@decoding_options
@click.option("-o", "--output", required=True, help="Model file to write. It must not exist.")
@json_option
@quiet_option
def command(
    file: str,
    source: str,
    vocabulary: str | None,
    text_format: TextFormat,
    output: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Convert a Keras model to a charloom model.

    The model must consist of an embedding, GRU or LSTM layers, and a dense output layer. FILE is a .keras, .h5 or
    .weights.h5 file, or a TensorFlow checkpoint if TensorFlow is installed. Code in FILE is never executed.

    A text for --vocabulary is read in the ways in which Keras scripts read it: with or without a byte order mark, with
    CR LF or LF, in lower case, with spaces instead of newlines, and with or without [UNK] as id 0. The model's loss
    shows which reading is right. --encoding, --errors, --newlines and --normalize restrict the readings.

    \b
    charloom import tutorial.keras --from keras --vocabulary shakespeare.txt -o tutorial.safetensors
    """
    target = Path(output)
    check_new_file(target)
    given = click.get_current_context().get_parameter_source("newlines")
    imported = import_keras(file, vocabulary, text_format, fixed_newlines=given is ParameterSource.COMMANDLINE)
    save_model(target, imported.saved)
    print_notices(imported.notices, quiet)
    a = imported.saved.architecture
    print_message(f"{target}: {a.in_words}, {a.num_parameters:,} parameters, {a.vocabulary_size:,} characters", quiet)
    if as_json:
        architecture, notices = a.to_dict(), list(imported.notices)
        print_json(
            {"file": str(target), "parameters": a.num_parameters, "architecture": architecture, "notices": notices}
        )
