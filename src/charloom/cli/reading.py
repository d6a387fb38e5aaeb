"""Reading a corpus for a command: a bar while it loads, notices about what was done to it."""

from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from charloom.cli.console import say_all
from charloom.text.corpus import Corpus


def read_corpus(sources: Sequence[str], encoding: str, quiet: bool) -> Corpus:
    """Read a corpus; a download shows its progress, and notices go to stderr."""
    with _download_bar(quiet) as bar:
        task = bar.add_task("loading", visible=False)

        def progress(loaded: int, expected: int) -> None:
            bar.update(task, completed=loaded, total=expected or None, visible=True)

        corpus = Corpus.read(list(sources), encoding, progress)
    say_all(corpus.notices, quiet)
    return corpus


def _download_bar(quiet: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, console=Console(stderr=True), disable=quiet, transient=True)
