"""Train and resume from Python."""

from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from typing import Any

from charloom._util.extras import require_torch
from charloom.data.corpus import Corpus
from charloom.inference.model import Model, load
from charloom.planning.recipes import Recipe, load_recipe
from charloom.planning.settings import check_lengths
from charloom.terminal.messages import say_all
from charloom.training.events import FinishRecord, Record
from charloom.training.resume import open_run, resume_training
from charloom.training.run import run_training


def train(
    corpus: str | PathLike[str] | Sequence[str | PathLike[str]] | Corpus,
    *,
    recipe: str | Recipe = "auto",
    run: str | PathLike[str] | None = None,
    init: str | PathLike[str] | None = None,
    device: str = "auto",
    progress: bool = True,
    watch: Callable[[Record], object] | None = None,
    **settings: Any,
) -> Model:
    """Train a model on a text and return the best one.

    Args:
        corpus: A text file, several, a folder, a glob, a named corpus, or a ``Corpus``.
        recipe: A recipe's name or file, or a ``Recipe``.
        run: The run folder, which must not exist; by default ``runs/<corpus name>``, then ``-2``, ``-3`` ...
        init: Model to begin with, as ``load`` takes it; its sizes are kept, and new characters are added.
        device: "auto", "cpu", "cuda" or "mps".
        progress: Whether to show the progress on stderr.
        watch: Called with every record of the training; see ``charloom.training.events``.
        **settings: Any of ``Settings``, such as ``minutes=3``, ``epochs=10`` or ``hidden_size=512``.

    Raises:
        InputError: If the corpus, a setting or the run folder cannot be used.
        MissingExtraError: If PyTorch is not installed.
        NonFiniteError: If the training diverges.
    """
    require_torch()

    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    chosen = chosen.with_values(settings)
    text = corpus if isinstance(corpus, Corpus) else Corpus.read(corpus)
    init_model = None if init is None else load(init).saved
    say_all(text.notices, quiet=not progress)
    records = run_training(text, chosen, None if run is None else str(run), device, init=init_model)
    return _run(records, progress, watch)


def resume(
    run: str | PathLike[str],
    corpus: str | PathLike[str] | Sequence[str | PathLike[str]] | Corpus | None = None,
    *,
    new_text: bool = False,
    device: str = "auto",
    progress: bool = True,
    watch: Callable[[Record], object] | None = None,
    **more: float,
) -> Model:
    """Resume a training exactly where it stopped, and return the best model.

    Args:
        run: The run folder.
        corpus: Its text, or with ``new_text`` another; by default it is read from its old path.
        new_text: Whether the text may be another; its new characters are added to the vocabulary.
        device: "auto" for the device of the run, "cpu", "cuda" or "mps".
        progress: Whether to show the progress on stderr.
        watch: Called with every record of the training.
        **more: ``minutes``, ``epochs`` or ``steps``: how much longer to train.

    Raises:
        InputError: If the run cannot be used, the text is another, or there is nothing left to do.
        MissingExtraError: If PyTorch is not installed.
        NonFiniteError: If the training diverges.
    """
    check_lengths(more)
    require_torch()

    saved = open_run(str(run))
    text = saved.read_corpus() if corpus is None else corpus
    text = text if isinstance(text, Corpus) else Corpus.read(text)
    say_all(text.notices, quiet=not progress)
    return _run(resume_training(saved, text, more, new_text, device), progress, watch)


def _run(records: Iterator[Record], progress: bool, watch: Callable[[Record], object] | None) -> Model:
    """Run a training, show it, and return its best model."""
    from charloom.terminal.training_view import make_view  # imports rich

    folder = ""
    with make_view(quiet=not progress) as view:
        for record in records:
            view.show(record)
            if watch is not None:
                watch(record)
            if isinstance(record, FinishRecord):
                folder = record.run
    return load(folder)
