"""Find the run folder of a model and the text on which it was trained."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charloom.data.corpus import Corpus
from charloom.data.datasets import NAMES, is_available_offline
from charloom.data.reading.sources import located_sources
from charloom.data.splits import CorpusSplit
from charloom.data.text_format import PLAIN, TextFormat
from charloom.errors import CharloomError, RunError
from charloom.model.file.model_file import SavedModel, load_model
from charloom.model.file.run_folder import find_model, run_of
from charloom.training.checkpoint import newest_checkpoint


@dataclass(frozen=True)
class Provenance:
    """A model with its run and training text.

    Attributes:
        name: The name that the user gave.
        model: The model.
        run: Its run folder, or None.
        parts: The text it was trained on, split as in the training; None if it cannot be found.
        missing: A sentence that says why it cannot be found; else empty.
    """

    name: str
    model: SavedModel
    run: Path | None
    parts: CorpusSplit | None
    missing: str = ""


def find_provenance(argument: str) -> Provenance:
    """Load a model, and find its run and its training text.

    Args:
        argument: A model as accepted by ``find_model``.

    Raises:
        ModelFileError: If there is no such model, or it is damaged.
        RunError: If the run folder has no such model.
    """
    path = find_model(argument)
    model = load_model(path)
    run = run_of(path)
    try:
        corpus = _corpus(model, run)
    except CharloomError as error:
        return Provenance(argument, model, run, None, f"Its training text is not at hand. {error}")
    if corpus is None:
        missing = "Its training text is not at hand: only a run folder says where that is."
        return Provenance(argument, model, run, None, missing)
    if corpus.sha256 != model.facts.get("corpus_sha256"):
        return Provenance(argument, model, run, None, f"Its training text has changed since: {corpus.name}.")
    settings: dict[str, Any] = model.facts.get("settings") or {}
    parts = corpus.parts(settings.get("val_fraction", 0.0), settings.get("test_fraction", 0.0))
    return Provenance(argument, model, run, parts)


def _corpus(model: SavedModel, run: Path | None) -> Corpus | None:
    """Read the training text that a model names, without downloading anything; None if it is not available."""
    sources, text_format = _sources(run) if run is not None else (None, PLAIN)
    if sources is not None and all(is_available_offline(source) for source in sources):
        return Corpus.read(sources, text_format=text_format)
    name = model.facts.get("corpus")
    known = isinstance(name, str) and name in NAMES and not Path(name).exists()
    return Corpus.read(str(name)) if known and is_available_offline(str(name)) else None


def _sources(run: Path) -> tuple[list[str] | None, TextFormat]:
    """Return the sources of a run's text as its newest checkpoint records them, and their format."""
    try:
        _, training, _ = newest_checkpoint(run)
    except RunError:
        return None, PLAIN
    text_format = TextFormat.from_dict(training.facts.get("text_format", {}))
    return located_sources(training.facts.get("sources"), run), text_format
