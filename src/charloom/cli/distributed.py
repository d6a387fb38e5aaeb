"""Being one of several processes that ``torchrun`` started: what goes wrong is said once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from platform import node
from typing import TYPE_CHECKING

from charloom.errors import CharloomError
from charloom.terminal.messages import say_error

if TYPE_CHECKING:
    from charloom.training.distributed.process_group import ProcessGroup


@contextmanager
def several() -> Iterator[ProcessGroup]:
    """Join the other processes, if there are any.

    Raises:
        SystemExit: Where something went wrong in several of them and this one is not the one to say it, or has said it.
    """
    from charloom.training.distributed.process_group import SINGLE_PROCESS, started_together

    if not started_together():
        yield SINGLE_PROCESS
        return
    from charloom._util.extras import require_torch

    require_torch()
    from charloom.training.distributed.torchrun import joined

    with joined() as ranks:
        try:
            yield ranks
        except CharloomError as error:
            if ranks.is_first and ranks.should_report(str(error)):
                raise
            if not ranks.is_first and ranks.should_report(str(error)):
                say_error(f"process {ranks.rank + 1} of {ranks.size}, on {node()}: {error}")
            raise SystemExit(error.exit_code) from None
