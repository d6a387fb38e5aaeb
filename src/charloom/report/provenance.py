"""Find the run folder and the training text of a model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charloom.data.corpus import Corpus
from charloom.data.datasets import NAMES, is_available_offline
from charloom.data.reading.sources import located_sources
from charloom.data.splits import CorpusSplit
from charloom.data.text_format import PLAIN, TextFormat
from charloom.errors import CharloomError, Notice, RunError
from charloom.model.file.model_file import SavedModel, load_model
from charloom.model.file.run_folder import find_model, run_of
from charloom.training.checkpoint import newest_checkpoint


@dataclass(frozen=True)
class Provenance:
    """A model with its run and training text.

    Attributes:
        name: The model as the user named it.
        model: The model.
        run: Its run folder; None if it has none.
        parts: The training text, split as in the training; None if it is not available.
        missing: A ``Notice`` that explains why the training text is not available; else "".
    """

    name: str
    model: SavedModel
    run: Path | None
    parts: CorpusSplit | None
    missing: str = ""


def find_provenance(argument: str) -> Provenance:
    """Load a model and find its run folder and training text.

    Args:
        argument: A model as accepted by ``find_model``.

    Raises:
        ModelFileError: If the model does not exist or is damaged.
        RunError: If the run folder does not contain the model.
    """
    path = find_model(argument)
    model = load_model(path)
    run = run_of(path)
    try:
        corpus = _corpus(model, run)
    except CharloomError as error:
        missing = Notice(f"The training text is not available. {error}", code="training_text_unavailable")
        return Provenance(argument, model, run, None, missing)
    if corpus is None:
        missing = Notice(
            "The training text is not available: only a run folder records its location.",
            code="training_text_unavailable",
        )
        return Provenance(argument, model, run, None, missing)
    if corpus.sha256 != model.facts.get("corpus_sha256"):
        missing = Notice(
            f"The training text {corpus.name} has changed since the training.",
            code="training_text_changed",
            corpus=corpus.name,
        )
        return Provenance(argument, model, run, None, missing)
    settings: dict[str, Any] = model.facts.get("settings") or {}
    parts = corpus.parts(settings.get("val_fraction", 0.0), settings.get("test_fraction", 0.0))
    return Provenance(argument, model, run, parts)


def _corpus(model: SavedModel, run: Path | None) -> Corpus | None:
    """Read the training text without downloading anything; return None if its location is unknown or not local."""
    sources, text_format = _sources(run) if run is not None else (None, PLAIN)
    if sources is not None and all(is_available_offline(source) for source in sources):
        return Corpus.read(sources, text_format=text_format)
    name = model.facts.get("corpus")
    known = isinstance(name, str) and name in NAMES and not Path(name).exists()
    return Corpus.read(str(name)) if known and is_available_offline(str(name)) else None


def _sources(run: Path) -> tuple[list[str] | None, TextFormat]:
    """Return the sources of the training text and their format, as recorded in the run's newest checkpoint."""
    try:
        _, training, _ = newest_checkpoint(run)
    except RunError:
        return None, PLAIN
    text_format = TextFormat.from_dict(training.facts.get("text_format", {}))
    return located_sources(training.facts.get("sources"), run), text_format
