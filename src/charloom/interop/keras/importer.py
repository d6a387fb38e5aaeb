"""Import a Keras model: read, convert, and attach a vocabulary."""

from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from charloom._version import __version__
from charloom.data.baselines import baselines
from charloom.errors import CharloomError, ModelFileError
from charloom.inference.model import Model
from charloom.interop.foreign_vocabulary import ForeignVocabulary, resolve_vocabulary
from charloom.interop.keras.config import StackConfig, parse_stack
from charloom.interop.keras.conversion import architecture_and_weights, identify_layers
from charloom.interop.keras.reader import KerasFile, read_keras_file
from charloom.model.file.model_file import SavedModel
from charloom.model.file.schema import check_facts


@dataclass(frozen=True)
class ImportedModel:
    """An imported model.

    Attributes:
        saved: The model, its weights as float32.
        notices: What was assumed or left out, one sentence each, to be shown to the user.
    """

    saved: SavedModel
    notices: tuple[str, ...]


def import_keras(path: str | PathLike[str], vocabulary: str | PathLike[str] | None = None) -> ImportedModel:
    """Return the model that a file of Keras holds: embedding, one or more GRU or LSTM, dense logits.

    Nothing that the file names is executed. What a training needs besides weights (the optimizer) is not taken over.

    Args:
        path: A ``.keras``, ``.h5`` or ``.weights.h5`` file, or a checkpoint of TensorFlow, where that is installed.
        vocabulary: What the ids stand for: a text, whose sorted distinct characters are the ids 0, 1, 2 ...; a
            ``.json`` file with a list or an object of characters; a charloom model. Not needed for files that
            charloom wrote.

    Raises:
        MissingExtraError: If h5py is not installed.
        ModelFileError: If the file cannot be read, or holds a layer that charloom has not; it is named.
        InputError: If the vocabulary cannot be used.
    """
    file = read_keras_file(Path(path))
    try:
        config = None if file.config is None else parse_stack(file.config)
        stack = identify_layers(file.layers, config)
        architecture, weights = architecture_and_weights(stack, config)
    except CharloomError as error:
        raise ModelFileError(f"{path} cannot be imported: {error}") from None
    source = None if vocabulary is None else str(vocabulary)
    known = resolve_vocabulary(source, architecture.vocabulary_size, file.description)
    kept = list(known.kept)
    for name in ("embedding.weight", "output.weight", "output.bias"):
        weights[name] = weights[name][kept]
    saved = SavedModel(
        replace(architecture, vocabulary_size=len(kept)), known.vocabulary, weights, _facts(file), lines=known.lines
    )
    names = [layer.name for layer in stack.recurrent]
    return ImportedModel(saved, (*_assumptions(config, names), *known.notices, *_vocabulary_warnings(saved, known)))


def _facts(file: KerasFile) -> dict[str, Any]:
    before = file.description.get("facts", {}) if file.description else {}
    check_facts(before)
    made = f"Keras {file.version}" if file.version else "Keras"
    return {**before, "imported_from": f"{made}, {file.format}", "charloom_version": __version__}


def _assumptions(config: StackConfig | None, names: list[str]) -> tuple[str, ...]:
    if config is None:
        return (
            "The file tells nothing of its layers but their weights. Taken are the activations that Keras gives them "
            f"(tanh and sigmoid), and recurrent layers in the order {', '.join(names)}.",
        )
    if config.last_only:
        return ("The model was made to predict what follows a window. Here it predicts what follows each character.",)
    return ()


def _vocabulary_warnings(saved: SavedModel, known: ForeignVocabulary) -> tuple[str, ...]:
    """Warn if the model is no better on the text than the unigram baseline: then its ids stand for other characters."""
    sample = known.sample
    if len(sample) < 100:
        return ()
    ids = saved.vocabulary.encode(sample)
    counted = baselines(ids, ids, len(saved.vocabulary)).unigram
    loss = Model(saved).score(sample).nats_per_char
    if loss < counted:
        return ()
    return (
        f"The model reads the beginning of this text no better ({loss:.2f} nats per character) than counting its "
        f"characters does ({counted:.2f}). If it was trained, its ids stand for other characters: give --vocabulary a "
        "list in the order of its ids.",
    )
