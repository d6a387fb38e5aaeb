"""Batches of a training text: contiguous streams, shuffled windows, or lines."""

from charloom.data.splits import RecordIds
from charloom.planning.settings import Settings
from charloom.training.batches.base import Batches, IdSource
from charloom.training.batches.records import RecordGroups
from charloom.training.batches.streams import Streams
from charloom.training.batches.windows import Windows
from charloom.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup


def make_batches(
    ids: IdSource | RecordIds, settings: Settings, process_group: ProcessGroup = SINGLE_PROCESS
) -> Batches:
    """Return an endless iterator over the batches of a training text.

    Args:
        ids: Ids of the training text, (N,), or of its lines, which require ``batching="lines"``.
        settings: ``batching``, ``seq_length``, ``batch_size``, ``reset_state``, ``shuffle_buffer``, ``shuffle`` and
            ``seed``.
        process_group: Processes of the training. Each one gets its rows of every batch.

    Raises:
        CorpusError: If the text is shorter than one window.
        SettingsError: If the text is shorter than one batch.
    """
    if isinstance(ids, RecordIds):
        return RecordGroups(ids, settings, process_group)
    return (Windows if settings.batching == "windows" else Streams)(ids, settings, process_group)
