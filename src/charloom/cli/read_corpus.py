"""Reading a corpus for a command: a bar while it loads, notices about what was done to it."""

from collections.abc import Sequence

from charloom.data.corpus import Corpus
from charloom.data.text_format import TextFormat
from charloom.terminal.messages import say_all
from charloom.terminal.progress_bar import progress_bar


def read_corpus(sources: Sequence[str], text_format: TextFormat, quiet: bool) -> Corpus:
    """Read a corpus; a download shows its progress, and notices go to stderr."""
    with progress_bar("loading", quiet, in_bytes=True) as report:
        corpus = Corpus.read(list(sources), progress=report, text_format=text_format)
    say_all(corpus.notices, quiet)
    return corpus
