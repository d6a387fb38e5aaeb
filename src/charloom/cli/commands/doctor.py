"""``charloom doctor``: report versions, devices, and what would be faster."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click
import numpy as np

from charloom import native
from charloom._version import __version__
from charloom.data.datasets import cache_folder
from charloom.errors import SettingsError
from charloom.inference.engines.factory import engine_name
from charloom.terminal.messages import json_option, print_json, print_text, quiet_option

_PACKAGES = ("numpy", "safetensors", "torch")
_TORCH_SECONDS = 120

# Runs in a process of its own: this one never imports torch, and a broken torch cannot break the doctor.
_ASK_TORCH = """
import json
from charloom.training.backends.torch.device import DEVICES, choose_device
found = {}
for name in DEVICES[1:]:
    try:
        found[name] = choose_device(name).description
    except Exception as error:
        found[name] = None
print(json.dumps({"devices": found, "auto": choose_device().description}))
"""


@click.command("doctor")
@json_option
@quiet_option
def command(as_json: bool, quiet: bool) -> None:
    """Say which versions are installed, which device and instructions are used, and what would make it faster."""
    found = examine()
    if as_json:
        print_json(found)
    else:
        print_text("".join(f"{key:<14} {_cell(value)}\n" for key, value in found.items() if key != "advice"))
        print_text("".join(f"\n- {line}" for line in found["advice"]) + "\n")


def examine() -> dict[str, Any]:
    """Return what was found: the keys of ``--json``."""
    training = _training()
    instructions = _instructions()
    return {
        "charloom": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": f"{platform.system()} {platform.machine()}",
        **{name: _version(name) for name in _PACKAGES},
        "instructions": ", ".join(instructions) or None,
        "engine": _engine(),
        "training": training.get("auto"),
        "recurrence": _recurrence(training),
        "devices": training.get("devices"),
        "cache": _cache(),
        "advice": _advice(training),
    }


def _cache() -> str:
    """Return where loaded corpora and indexes of long texts are kept, and how much of the disk they take."""
    folder = cache_folder()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{folder} ({size / 1e6:,.0f} MB)"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _instructions() -> list[str]:
    """Return the instruction sets beyond the baseline that NumPy found on this processor."""
    found: list[str] = np.show_config(mode="dicts").get("SIMD Extensions", {}).get("found", [])
    return found


def _engine() -> str:
    """Return which engine generates, and with which instructions, or why not the native one."""
    try:
        if engine_name() == "native":
            return f"native, {native.chosen_isa()} (it has {', '.join(native.instruction_sets())})"
    except SettingsError as error:
        return str(error)
    return f"numpy; {native.missing or 'CHARLOOM_ENGINE asks for it'}"


def _recurrence(training: dict[str, Any]) -> str | None:
    """Return what trains recurrent layers on the processor, if anything can."""
    if "error" in training:
        return None
    if native.engine is None or not hasattr(native.engine, "Recurrence"):
        return "PyTorch"
    try:
        pairs = "by instructions for it" if native.engine.multiplies_bfloat16() else "taken apart into float32"
        return f"compiled, {native.chosen_isa()}; bfloat16 is multiplied {pairs}"
    except SettingsError as error:
        return str(error)


def _training() -> dict[str, Any]:
    """Ask PyTorch, where there is one, which devices it can train on."""
    if _version("torch") is None:
        return {"error": "PyTorch is not installed"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _ASK_TORCH], capture_output=True, text=True, timeout=_TORCH_SECONDS
        )
        found: dict[str, Any] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return {"error": "PyTorch is installed but cannot be used"}
    return found


def _advice(training: dict[str, Any]) -> list[str]:
    advice = ["Generating and scoring work without PyTorch."]
    if native.engine is None:
        advice.append(
            "The native engine is not installed, so that generating is 10 to 30 times slower than it could be, "
            "and training on the processor takes up to twice as long: install a C++ compiler, and charloom again."
        )
    if "error" in training:
        return [*advice, f"Training is not possible here: {training['error']}. pip install 'charloom[train]'"]
    if training["devices"]["cuda"] is None and training["devices"]["mps"] is None:
        advice.append(
            "No GPU was found: training runs on the processor, which suits models of up to a few million parameters."
        )
    if "bfloat16" in training["auto"] and "no fast bfloat16" not in training["auto"]:
        advice.append("Matrix products run in bfloat16, which this hardware multiplies faster than float32.")
    return advice


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}: {item or 'not here'}" for key, item in value.items())
    return "not installed" if value is None else str(value)
