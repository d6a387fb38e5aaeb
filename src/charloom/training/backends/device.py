"""Where a training runs and how precisely it multiplies: chosen from what is there, and said."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from charloom.errors import SettingsError

DEVICES = ("auto", "cpu", "cuda", "mps")

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # names and numbers of glibc's malloc.h


@dataclass(frozen=True)
class Device:
    """A device and the precision of its matrix products.

    Attributes:
        name: "cpu", "cuda" or "mps".
        precision: "float32" or "bfloat16"; weights, gradients and their sums are float32 either way.
        description: For people: which device, which precision, and why.
    """

    name: str
    precision: str
    description: str

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which the forward pass runs."""
        return torch.autocast(self.name, torch.bfloat16) if self.precision == "bfloat16" else nullcontext()


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Take numbers too small to matter as zero: products of such denormal numbers are ten times as slow.

    Adam's averages and forgotten states decay into them. It is switched on for a step only, so that nobody
    else's arithmetic changes.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") else None


@contextmanager
def kept_memory() -> Iterator[None]:
    """Let the process keep the memory that a step gives back, for the next step to use.

    Otherwise the C library returns every large buffer to the system at once, and the next step gets it back
    page by page, each filled with zeros. Only glibc has this knob; elsewhere nothing changes.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        libc.mallopt(_M_MMAP_MAX, 65536)  # these two are glibc's own values
        libc.mallopt(_M_TRIM_THRESHOLD, 128 * 1024)
        libc.malloc_trim(0)


def choose_device(name: str = "auto", precision: str = "auto") -> Device:
    """Return the device to train on.

    Args:
        name: One of ``DEVICES``; auto takes an NVIDIA GPU, else an Apple one, else the processor.
        precision: "auto", "float32" or "bfloat16"; auto takes bfloat16 where the hardware multiplies it faster.

    Raises:
        SettingsError: If there is no such device here.
    """
    if name not in DEVICES:
        raise SettingsError(f"device must be one of {', '.join(DEVICES)}; got {name!r}.")
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    chosen = next(device for device in there if there[device]) if name == "auto" else name
    if not there[chosen]:
        usable = ", ".join(device for device in there if there[device])
        raise SettingsError(f"There is no {chosen} device that this PyTorch can use. Usable here: {usable}.")
    fast = _has_fast_bfloat16(chosen)
    picked = ("bfloat16" if fast else "float32") if precision == "auto" else precision
    return Device(chosen, picked, f"{_describe(chosen)}, {picked}" + ("" if fast else " (it has no fast bfloat16)"))


def _has_fast_bfloat16(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.get_device_capability() >= (8, 0)
    if device == "mps":
        return False
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # PyTorch has no public name for these
    return any(getattr(torch.cpu, check, bool)() for check in checks)


def _describe(device: str) -> str:
    if device == "cuda":
        return f"GPU {torch.cuda.get_device_name()}"
    if device == "mps":
        return "Apple GPU"
    threads = torch.get_num_threads()
    return f"CPU with {threads} {'thread' if threads == 1 else 'threads'}"
