"""Choose PyTorch's device and the precision of its matrix products."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from charloom.errors import SettingsError
from charloom.training.backends.base import DEVICES, Device


class TorchDevice(Device):
    """A device of PyTorch; see ``charloom.training.backends.base.Device``."""

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context manager for the forward pass: autocast for bfloat16."""
        return torch.autocast(self.name, torch.bfloat16) if self.precision == "bfloat16" else nullcontext()


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Treat denormal numbers as zero within a ``with`` block: their products are ten times slower than normal ones.

    Adam's moments and the gradients of saturated gates decay to denormal numbers. The block should contain one step
    only, so that other code in the process is not affected.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def choose_device(name: str = "auto", precision: str = "auto") -> TorchDevice:
    """Choose the training device; see ``charloom.training.backends.choose_device``."""
    if name not in DEVICES:
        raise SettingsError(
            f"Unknown device {name!r} (charloom supports {', '.join(DEVICES)}).",
            code="unknown_device",
            device=name,
            accepted=list(DEVICES),
        )
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    chosen = next(device for device, usable in available.items() if usable) if name == "auto" else name
    if not available[chosen]:
        usable = [device for device, is_usable in available.items() if is_usable]
        raise SettingsError(
            f"PyTorch cannot use the device {chosen!r} on this machine. Available devices: {', '.join(usable)}.",
            code="device_unavailable",
            device=chosen,
            available=usable,
        )
    fast = _has_fast_bfloat16(chosen)
    resolved = ("bfloat16" if fast else "float32") if precision == "auto" else precision
    reason = "" if fast else " (it has no fast bfloat16)"
    return TorchDevice(chosen, resolved, f"{_describe(chosen)}, {resolved}{reason}")


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
