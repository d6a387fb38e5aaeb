"""The process group of processes that ``torchrun`` started; see ``charloom.training.distributed.process_group``.

Processes exchange only numbers and bytes. Nothing that is received is executed or unpickled.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from charloom.errors import CharloomError, LostProcessError, SettingsError
from charloom.training.distributed.process_group import ProcessGroup

_TIMEOUT = timedelta(minutes=10)  # maximum wait for a process that is still reading a long text or saving
_VARIABLES = ("MASTER_ADDR", "MASTER_PORT")
_REPORT_DELAY = 1.0  # seconds by which the other processes let the first process report an error


class _TorchrunGroup(ProcessGroup):
    """The processes that ``torchrun`` started; they communicate with ``torch.distributed``."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = dist.TCPStore(host, port, is_master=False, timeout=_TIMEOUT)  # type: ignore[attr-defined]
        self._reported = dist.PrefixStore("charloom", store)  # type: ignore[attr-defined]

    def all_reduce(self, tensor: Tensor) -> None:
        with _lost_process_errors():
            if self.size == 2 and tensor.device.type == "cpu":
                self._exchange(tensor)
            else:
                dist.all_reduce(tensor)

    def _exchange(self, tensor: Tensor) -> None:
        """Sum the tensors of two processes by exchanging them, which is faster than gloo's ring all-reduce."""
        received = torch.empty_like(tensor)
        for transfer in (dist.isend(tensor, 1 - self.rank), dist.irecv(received, 1 - self.rank)):
            if transfer is not None:
                transfer.wait()
        tensor += received

    def broadcast_bytes(self, data: bytes) -> bytes:
        length = torch.tensor([len(data) if self.is_first else 0])
        self.all_reduce(length)
        received = torch.zeros(int(length), dtype=torch.uint8)
        if self.is_first and data:
            received.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        with _lost_process_errors():
            dist.broadcast(received, 0)
        return received.numpy().tobytes()

    def should_report(self, error: CharloomError) -> bool:
        if not self.is_first:
            time.sleep(_REPORT_DELAY)
        try:
            another_has_reported = self._reported.add("anything", 1) > 1
            is_first_report = self._reported.add(f"{error.code}: {error}", 1) == 1
            return is_first_report and not (another_has_reported and isinstance(error, LostProcessError))
        except RuntimeError:  # the process that hosts the store has exited
            return True


@contextmanager
def _lost_process_errors() -> Iterator[None]:
    """Convert PyTorch's errors about a process that does not respond to ``LostProcessError``."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0][:200]
        raise LostProcessError(
            f"Another process of this training has exited or does not respond ({reason}). Resume from the last "
            "checkpoint with --resume RUN and any number of processes.",
            code="lost_process",
            reason=reason,
        ) from None


@contextmanager
def join_process_group() -> Iterator[ProcessGroup]:
    """Join the process group of ``torchrun``, and leave it at the end. Use it if ``launched_by_torchrun`` returns true.

    Raises:
        LostProcessError: If another process cannot be reached.
        SettingsError: If this build of PyTorch lacks gloo, or environment variables of ``torchrun`` are missing.
    """
    if not dist.is_available() or not dist.is_gloo_available():
        raise SettingsError(
            "Training in several processes needs torch.distributed with gloo, which this build of PyTorch does not "
            "include.",
            code="torch_distributed_unavailable",
        )
    if missing := [name for name in _VARIABLES if not os.environ.get(name)]:
        raise SettingsError(
            f"RANK and WORLD_SIZE are set, but {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not. "
            "Start the processes with torchrun, which sets all four variables, or unset RANK to train in one process.",
            code="missing_environment_variables",
            missing=missing,
        )
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    with _lost_process_errors():
        dist.init_process_group(backend, timeout=_TIMEOUT)
    try:
        yield _TorchrunGroup(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
