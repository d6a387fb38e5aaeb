"""A progress bar on stderr that disappears when it is complete."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

Report = Callable[[int, int], None]
"""A function that is called with the amount done so far and the total amount (0 if unknown)."""


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


@contextmanager
def progress_bar(label: str, quiet: bool, in_bytes: bool = False) -> Iterator[Report]:
    """Yield a function that reports progress. The bar appears with the first report, if stderr is a terminal.

    Args:
        label: Label of the bar, such as "Loading".
        quiet: Whether to show nothing.
        in_bytes: Whether amounts are bytes, shown with units such as MB.
    """
    console = Console(stderr=True)
    amounts = (DownloadColumn(),) if in_bytes else (MofNCompleteColumn(), _Speed())
    columns = (TextColumn("{task.description}"), BarColumn(), *amounts, TimeRemainingColumn())
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as bar:
        task = bar.add_task(label, visible=False)

        def report(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total or None, visible=True)

        yield report
