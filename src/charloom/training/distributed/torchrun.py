"""Joining the processes that ``torchrun`` started; see ``charloom.training.distributed.process_group``.

Numbers and bytes go between them and nothing else: nothing that is received is executed.
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
from charloom.training.distributed.process_group import Ranks

_WAIT = timedelta(minutes=10)  # for another process: reading a long text or saving may take one of them so much longer
_VARIABLES = ("MASTER_ADDR", "MASTER_PORT")
_POLITE_SECONDS = 1.0  # in which the first process may say what went wrong, before another does
_GONE = "Another process of this training does not answer"


class _Group(Ranks):
    """The processes that ``torchrun`` started, this one among them."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = dist.TCPStore(host, port, is_master=False, timeout=_WAIT)  # type: ignore[attr-defined]
        self._said = dist.PrefixStore("charloom", store)  # type: ignore[attr-defined]

    def add_up(self, tensor: Tensor) -> None:
        with _heard():
            if self.size == 2 and tensor.device.type == "cpu":
                self._exchange(tensor)
            else:
                dist.all_reduce(tensor)

    def _exchange(self, tensor: Tensor) -> None:
        """Add the other process' tensor: of two, each needs all of it, and gloo's ring takes longer to say the same."""
        theirs = torch.empty_like(tensor)
        for sent in (dist.isend(tensor, 1 - self.rank), dist.irecv(theirs, 1 - self.rank)):
            if sent is not None:
                sent.wait()
        tensor += theirs

    def bytes_from_first(self, data: bytes) -> bytes:
        length = torch.tensor([len(data) if self.is_first else 0])
        self.add_up(length)
        told = torch.zeros(int(length), dtype=torch.uint8)
        if self.is_first and data:
            told.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        with _heard():
            dist.broadcast(told, 0)
        return told.numpy().tobytes()

    def says(self, message: str) -> bool:
        if not self.is_first:
            time.sleep(_POLITE_SECONDS)
        try:
            said_by_others = self._said.add("anything", 1) > 1
            return self._said.add(message, 1) == 1 and not (said_by_others and message.startswith(_GONE))
        except RuntimeError:  # there is nobody left to ask
            return True


@contextmanager
def _heard() -> Iterator[None]:
    """Say that a process is gone where PyTorch says in its own words that it does not answer."""
    try:
        yield
    except RuntimeError as error:
        raise LostProcessError(
            f"{_GONE} ({str(error).splitlines()[0][:200]}). What was saved before is still there: --resume RUN goes on "
            "from it, with as many processes as you like."
        ) from None


@contextmanager
def joined() -> Iterator[Ranks]:
    """Join the others, as ``started_together`` says that there are some.

    Raises:
        LostProcessError: If they are not found.
        SettingsError: If this PyTorch cannot do it.
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
    with _heard():
        dist.init_process_group(backend, timeout=_WAIT)
    try:
        yield _Group(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
