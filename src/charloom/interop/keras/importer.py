"""Import a Keras model: read, convert, and attach a vocabulary."""

from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from charloom._version import __version__
from charloom.data.text_format import PLAIN, TextFormat
from charloom.errors import CharloomError, ModelFileError, Notice
from charloom.inference.model import Model
from charloom.interop.foreign_vocabulary import ForeignVocabulary, resolve_vocabulary
from charloom.interop.keras.config import StackConfig, parse_stack
from charloom.interop.keras.conversion import architecture_and_weights, identify_layers
from charloom.interop.keras.reader import KerasFile, read_keras_file
from charloom.model.file.model_file import SUFFIX, SavedModel, load_model
from charloom.model.file.run_folder import CHECKPOINTS, MODEL, find_model
from charloom.model.file.schema import check_facts


@dataclass(frozen=True)
class ImportedModel:
    """An imported model.

    Attributes:
        saved: The model with float32 weights.
        notices: Assumptions that were made and parts that were dropped.
    """

    saved: SavedModel
    notices: tuple[str, ...]


def import_keras(
    path: str | PathLike[str],
    vocabulary: str | PathLike[str] | None = None,
    text_format: TextFormat = PLAIN,
    fixed_newlines: bool = False,
) -> ImportedModel:
    """Convert a Keras model to a charloom model: an embedding, one or more GRU or LSTM layers, and a dense layer.

    Nothing that the file names is executed. Optimizer state is not imported.

    Args:
        path: A ``.keras``, ``.h5`` or ``.weights.h5`` file, or a TensorFlow checkpoint if TensorFlow is installed.
        vocabulary: The characters of the ids: a text, whose sorted distinct characters get the ids 0, 1, 2 ...; a
            ``.json`` file with a list or an object of characters; or a charloom model. Not needed for files that
            charloom wrote. A text is read in the ways in which Keras scripts read it (with or without a byte order
            mark, CR LF or LF, lower case, spaces instead of newlines); the model's loss decides.
        text_format: How to decode the text ``vocabulary``. Newlines "lf" exclude readings that keep CR LF.
        fixed_newlines: Whether newlines "keep" exclude readings that convert CR LF to LF.

    Raises:
        MissingExtraError: If h5py is not installed.
        ModelFileError: If the file cannot be read, or contains an unsupported layer, which the message names.
        InputError: If the vocabulary is missing or does not match the model, or no reading of the text fits clearly.
    """
    _check_not_charloom(Path(path))
    file = read_keras_file(Path(path))
    try:
        config = None if file.config is None else parse_stack(file.config)
        stack = identify_layers(file.layers, config)
        architecture, weights = architecture_and_weights(stack, config)
    except CharloomError as error:
        raise ModelFileError(f"Cannot import {path}: {error}", code=error.code, **error.data) from None
    source = None if vocabulary is None else str(vocabulary)
    facts = _facts(file)

    def attach(known: ForeignVocabulary) -> SavedModel:
        """Return the model with a vocabulary, and only the ids that have a character."""
        kept = list(known.kept)
        rows = {name: weights[name][kept] for name in ("embedding.weight", "output.weight", "output.bias")}
        sized = replace(architecture, vocabulary_size=len(kept))
        return SavedModel(sized, known.vocabulary, weights | rows, facts, rules=known.rules)

    size = architecture.vocabulary_size
    known = resolve_vocabulary(
        source, size, file.description, lambda each: Model(attach(each)), text_format, fixed_newlines
    )
    names = [layer.name for layer in stack.recurrent]
    notices = (*_dequantized(file), *_assumptions(config, names), *known.notices)
    return ImportedModel(attach(known), notices)


def _check_not_charloom(path: Path) -> None:
    """Raise ``ModelFileError`` if the file to import is a charloom model already."""
    if path.suffix != SUFFIX and not (path / MODEL).is_file() and not (path / CHECKPOINTS).is_dir():
        return
    try:
        load_model(find_model(str(path)))
    except CharloomError:
        return  # it is reported as a file that is not a Keras file
    raise ModelFileError(
        f"{path} is a charloom model, so no import is needed. Use it directly, as in: charloom generate {path}",
        code="already_charloom_model",
        path=str(path),
    )


def _facts(file: KerasFile) -> dict[str, Any]:
    before = file.description.get("facts", {}) if file.description else {}
    check_facts(before)
    program = f"Keras {file.version}" if file.version else "Keras"
    return {**before, "imported_from": f"{program}, {file.format}", "charloom_version": __version__}


def _dequantized(file: KerasFile) -> tuple[Notice, ...]:
    if not file.dequantized:
        return ()
    return (
        Notice(
            f"The weights of {', '.join(file.dequantized)} are stored as int8; they are converted to float32, and the "
            "scales are applied. Keras may also round the inputs of these layers, so its logits can differ slightly.",
            code="weights_dequantized",
            layers=list(file.dequantized),
        ),
    )


def _assumptions(config: StackConfig | None, names: list[str]) -> tuple[Notice, ...]:
    if config is None:
        return (
            Notice(
                "The file contains weights without a configuration. Assuming Keras' default activations (tanh and "
                f"sigmoid) and the recurrent layers in the order {', '.join(names)}.",
                code="assumed_keras_defaults",
                layers=names,
            ),
        )
    if config.last_only:
        return (
            Notice(
                "The Keras model predicts only the character after a window; the imported model predicts the character "
                "after every position.",
                code="predicts_every_position",
            ),
        )
    return ()
