"""Cut a held-out text into the windows of an evaluation, in reading order.

Reading a text character by character as one stream is slow, so it is cut into stretches that are read in parallel. Each
stretch but the first is preceded by the characters before it: these bring the recurrent state to where it would be and
do not count, so that the loss is that of one stream. Several processes read some of the stretches each.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom.data.index.index import Ids
from charloom.data.splits import LineIds
from charloom.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup

_STRETCHES = 64
_WARM_UP = 256  # characters read before a stretch: after these, the initial state does not change the 4th decimal
_MAX_WINDOW = 128
_MAX_LOGITS = 1 << 22  # numbers in a window: larger arrays than the caches are slower, not faster


class EvaluationStopped(Exception):
    """An evaluation was stopped before it had a result."""


@dataclass(frozen=True)
class EvaluationWindow:
    """A window that is read at once.

    Attributes:
        inputs: Ids read, (B, T).
        targets: The ids that follow, (B, T); -1 where none counts.
        resets_state: Whether the state before the window is zero; otherwise it is that after the window before.
        is_warm_up: Whether the window only brings the state to where it would be; its targets do not count.
        resets_first_row: Whether the state of the first row is set to zero after a warm-up: that row is the beginning
            of the text, before which there is nothing.
    """

    inputs: NDArray[Any]
    targets: NDArray[Any]
    resets_state: bool = False
    is_warm_up: bool = False
    resets_first_row: bool = False


def evaluation_windows(
    ids: Ids | LineIds, vocabulary_size: int, process_group: ProcessGroup = SINGLE_PROCESS
) -> Iterator[EvaluationWindow]:
    """Yield the windows that this process evaluates. Every character but the first is a target; of lines, every one.

    Args:
        ids: The held-out text, (N,), N >= 2; or lines, whose line feeds count, too.
        vocabulary_size: V; larger vocabularies get shorter windows.
        process_group: The processes that share the evaluation.
    """
    if isinstance(ids, LineIds):
        return _line_windows(ids, process_group)
    return _stretch_windows(ids, vocabulary_size, process_group)


def _stretch_windows(ids: Ids, vocabulary_size: int, process_group: ProcessGroup) -> Iterator[EvaluationWindow]:
    predictions = len(ids) - 1
    rows = max(1, min(_STRETCHES, predictions // _WARM_UP))
    length = -(-predictions // rows)
    own = process_group.rows(rows)
    starts = np.arange(rows)[own, None] * length
    if not len(starts):
        return
    if rows > 1:
        before = np.maximum(starts + np.arange(-_WARM_UP, 0), 0)
        is_beginning = own.start == 0
        yield EvaluationWindow(
            ids[before], ids[before], resets_state=True, is_warm_up=True, resets_first_row=is_beginning
        )
    window = max(1, min(_MAX_WINDOW, _MAX_LOGITS // (rows * vocabulary_size)))
    for first in range(0, length, window):
        places = starts + np.arange(first, min(first + window, length))
        inside = places < predictions  # the last stretch may be shorter than the rest
        places = np.minimum(places, predictions - 1)
        targets = np.where(inside, ids[places + 1].astype(np.int64), -1)
        yield EvaluationWindow(ids[places], targets, resets_state=rows == 1 and first == 0)


def _line_windows(lines: LineIds, process_group: ProcessGroup) -> Iterator[EvaluationWindow]:
    """Yield lines side by side, those of similar length together; each process gets every ``size``-th line."""
    order = np.argsort(lines.lengths, kind="stable")[process_group.rank :: process_group.size]
    for start in range(0, len(order), _STRETCHES):
        inputs, targets = lines.windows(order[start : start + _STRETCHES], _STRETCHES)
        for first in range(0, inputs.shape[1], _MAX_WINDOW):
            part = slice(first, first + _MAX_WINDOW)
            yield EvaluationWindow(inputs[:, part], targets[:, part], resets_state=first == 0)
