"""Join the processes that ``torchrun`` started; see ``charloom.training.distributed.process_group``.

Only numbers and bytes are sent between processes: nothing that is received is executed.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from charloom.errors import LostProcessError, SettingsError
from charloom.training.distributed.process_group import ProcessGroup

_TIMEOUT = timedelta(minutes=10)  # reading a long text or saving may take one process this much longer
_VARIABLES = ("MASTER_ADDR", "MASTER_PORT")
_REPORT_DELAY = 1.0  # seconds in which the first process may report what went wrong before another does
_NO_ANSWER = "Another process of this training does not answer"


class _TorchrunGroup(ProcessGroup):
    """The processes that ``torchrun`` started, including this one."""

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
        """Sum the tensors of two processes by exchanging them whole, which is faster than gloo's ring all-reduce."""
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

    def should_report(self, message: str) -> bool:
        if not self.is_first:
            time.sleep(_REPORT_DELAY)
        try:
            reported_by_another = self._reported.add("anything", 1) > 1
            return self._reported.add(message, 1) == 1 and not (reported_by_another and message.startswith(_NO_ANSWER))
        except RuntimeError:  # the store's process is gone
            return True


@contextmanager
def _lost_process_errors() -> Iterator[None]:
    """Turn the errors that PyTorch raises when a process does not answer into ``LostProcessError``."""
    try:
        yield
    except RuntimeError as error:
        raise LostProcessError(
            f"{_NO_ANSWER} ({str(error).splitlines()[0][:200]}). What was saved before is still there: --resume RUN "
            "goes on from it, with as many processes as you like."
        ) from None


@contextmanager
def joined() -> Iterator[ProcessGroup]:
    """Join the process group; call it if ``started_together`` returns true.

    Raises:
        LostProcessError: If another process cannot be reached.
        SettingsError: If this PyTorch lacks gloo, or variables of ``torchrun`` are missing.
    """
    if not dist.is_available() or not dist.is_gloo_available():
        raise SettingsError("This PyTorch was built without torch.distributed and gloo, which several processes need.")
    if missing := [name for name in _VARIABLES if not os.environ.get(name)]:
        raise SettingsError(
            f"RANK and WORLD_SIZE are set, as for one of several processes, but {' and '.join(missing)} not. Start "
            "them with torchrun, which sets all of them; or unset RANK to train alone."
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
