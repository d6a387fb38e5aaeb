"""Who else is told how a training goes: a page that follows it, TensorBoard."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from charloom.terminal.messages import say
from charloom.training.events import Record

Watcher = Callable[[Record], object]


@contextmanager
def watchers(live: bool, tensorboard: bool, quiet: bool) -> Iterator[list[Watcher]]:
    """Yield what takes the records of a training, besides the terminal.

    Args:
        live: Whether to serve a page.
        tensorboard: Whether to write events into the run folder.
        quiet: Whether the page's address is not said.

    Raises:
        MissingExtraError: If what is asked for is not installed.
    """
    found: list[Watcher] = []
    with ExitStack() as stack:
        if tensorboard:
            from charloom.training.tensorboard import TensorBoardLog, require_tensorboard

            require_tensorboard()
            found.append(TensorBoardLog().take)
        if live:
            from charloom.serve.live import LivePage

            page = LivePage()
            stack.enter_context(page.served())
            say(f"live: {page.address}", quiet)
            found.append(page.take)
        yield found
