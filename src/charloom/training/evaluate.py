"""Cut a held-out text into the windows of an evaluation.

Reading a text as one stream is slow. It is therefore cut into segments that are read in parallel, as the rows of a
batch. Before each segment except the first, the model reads the preceding characters as a warm-up. They set the
recurrent state to what one stream would have there, and they are not counted in the loss. The result is the loss of a
single stream. With several processes, each evaluates some of the segments.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom.data.index.index import Ids
from charloom.data.splits import RecordIds
from charloom.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup

_SEGMENTS = 64
_WARM_UP = 256  # characters; after them the initial state does not change the loss in its 4th decimal
_MAX_WINDOW = 128  # characters
_MAX_LOGITS = 1 << 22  # floats per window; logits that exceed the processor's caches are slower


class EvaluationStopped(Exception):
    """An evaluation was stopped before it was complete."""


@dataclass(frozen=True)
class EvaluationWindow:
    """One batch of an evaluation.

    Attributes:
        inputs: Input ids, (B, T).
        targets: Next ids, (B, T); -1 at positions that do not count.
        resets_state: Whether the window starts from the zero state; otherwise it continues from the previous window.
        is_warm_up: Whether the window only prepares the state; its targets do not count.
        resets_first_row: Whether to set the state of the first row to zero after a warm-up, because that row is the
            beginning of the text and has no preceding characters.
    """

    inputs: NDArray[Any]
    targets: NDArray[Any]
    resets_state: bool = False
    is_warm_up: bool = False
    resets_first_row: bool = False


def evaluation_windows(
    ids: Ids | RecordIds, vocabulary_size: int, process_group: ProcessGroup = SINGLE_PROCESS
) -> Iterator[EvaluationWindow]:
    """Yield the windows that this process evaluates.

    Every character except the first is a target; for lines, every character and every line feed is.

    Args:
        ids: The held-out text, (N,), N >= 2; or lines.
        vocabulary_size: V. A larger vocabulary gets shorter windows, to limit the size of the logits.
        process_group: The processes that share the evaluation.
    """
    if isinstance(ids, RecordIds):
        return _line_windows(ids, process_group)
    return _segment_windows(ids, vocabulary_size, process_group)


def _segment_windows(ids: Ids, vocabulary_size: int, process_group: ProcessGroup) -> Iterator[EvaluationWindow]:
    predictions = len(ids) - 1
    rows = max(1, min(_SEGMENTS, predictions // _WARM_UP))
    length = -(-predictions // rows)
    own = process_group.rows(rows)
    starts = np.arange(rows)[own, None] * length
    if not len(starts):
        return
    # 1. warm-up on the characters before each segment
    if rows > 1:
        preceding = ids[np.maximum(starts + np.arange(-_WARM_UP, 0), 0)]
        yield EvaluationWindow(
            preceding, preceding, resets_state=True, is_warm_up=True, resets_first_row=own.start == 0
        )
    # 2. the segments, window by window
    window = max(1, min(_MAX_WINDOW, _MAX_LOGITS // (rows * vocabulary_size)))
    for first in range(0, length, window):
        positions = starts + np.arange(first, min(first + window, length))
        is_inside = positions < predictions  # the last segment may be shorter than the others
        positions = np.minimum(positions, predictions - 1)
        targets = np.where(is_inside, ids[positions + 1].astype(np.int64), -1)
        yield EvaluationWindow(ids[positions], targets, resets_state=rows == 1 and first == 0)


def _line_windows(lines: RecordIds, process_group: ProcessGroup) -> Iterator[EvaluationWindow]:
    """Yield batches of lines of similar length.

    With N processes, each one reads every N-th line in order of length.
    """
    order = np.argsort(lines.lengths, kind="stable")[process_group.rank :: process_group.size]
    for start in range(0, len(order), _SEGMENTS):
        inputs, targets = lines.windows(order[start : start + _SEGMENTS], _SEGMENTS)
        for first in range(0, inputs.shape[1], _MAX_WINDOW):
            part = slice(first, first + _MAX_WINDOW)
            yield EvaluationWindow(inputs[:, part], targets[:, part], resets_state=first == 0)
