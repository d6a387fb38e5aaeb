"""Batches of a training text: shuffled windows, contiguous streams, or lines."""

from charloom.data.splits import LineIds
from charloom.planning.settings import Settings
from charloom.training.batches.base import Batches, IdSource
from charloom.training.batches.lines import LineGroups
from charloom.training.batches.streams import Streams
from charloom.training.batches.windows import Windows
from charloom.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup


def make_batches(ids: IdSource | LineIds, settings: Settings, process_group: ProcessGroup = SINGLE_PROCESS) -> Batches:
    """Return the batches of a training text.

    Args:
        ids: The training text, (N,); or lines, which require ``batching="lines"``.
        settings: ``batching``, ``seq_length``, ``batch_size``, ``reset_state``, ``shuffle_buffer``, ``shuffle``,
            ``seed``.
        process_group: The processes of the training; this one gets its own rows.

    Raises:
        CorpusError: If the text is shorter than one window.
        SettingsError: If it is shorter than one batch.
    """
    if isinstance(ids, LineIds):
        return LineGroups(ids, settings, process_group)
    return (Windows if settings.batching == "windows" else Streams)(ids, settings, process_group)
