"""``charloom doctor``: show versions, devices and the engine, and suggest improvements."""

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
_TORCH_TIMEOUT = 120  # seconds

# Runs in a subprocess, so that importing a broken PyTorch cannot crash this command.
_PROBE_TORCH = """
import json
from charloom.training.backends.torch.device import DEVICES, choose_device
devices = {}
for name in DEVICES[1:]:
    try:
        devices[name] = choose_device(name).description
    except Exception as error:
        devices[name] = None
print(json.dumps({"devices": devices, "auto": choose_device().description}))
"""


@click.command("doctor")
@json_option
@quiet_option
def command(as_json: bool, quiet: bool) -> None:
    """Show installed versions, devices, CPU instructions and the engine, and suggest how to make charloom faster."""
    facts = diagnose()
    if as_json:
        print_json(facts)
    else:
        print_text("".join(f"{key:<14} {_cell(value)}\n" for key, value in facts.items() if key != "advice"))
        print_text("".join(f"\n- {line}" for line in facts["advice"]) + "\n")


def diagnose() -> dict[str, Any]:
    """Return the facts about this installation under their keys in ``--json``."""
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
    """Return the folder of downloaded corpora and indexes of long texts, and its size."""
    folder = cache_folder()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{folder} ({size / 1e6:,.0f} MB)"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _instructions() -> list[str]:
    """Return the SIMD extensions beyond NumPy's baseline that NumPy found on this processor."""
    extensions: list[str] = np.show_config(mode="dicts").get("SIMD Extensions", {}).get("found", [])
    return extensions


def _engine() -> str:
    """Return the inference engine and its instruction set, or why the native engine is not used."""
    try:
        if engine_name() == "native":
            return f"native, {native.chosen_isa()} (available: {', '.join(native.instruction_sets())})"
    except SettingsError as error:
        return str(error)
    return f"numpy; {native.missing or 'selected by CHARLOOM_ENGINE'}"


def _recurrence(training: dict[str, Any]) -> str | None:
    """Return the implementation that trains recurrent layers on the CPU; None if training is not possible."""
    if "error" in training:
        return None
    if native.engine is None or not hasattr(native.engine, "Recurrence"):
        return "PyTorch"
    try:
        products = "uses native instructions" if native.engine.multiplies_bfloat16() else "is emulated with float32"
        return f"compiled, {native.chosen_isa()}; bfloat16 multiplication {products}"
    except SettingsError as error:
        return str(error)


def _training() -> dict[str, Any]:
    """Return the devices that PyTorch can train on, or under "error" why there are none."""
    if _version("torch") is None:
        return {"error": "PyTorch is not installed"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE_TORCH], capture_output=True, text=True, timeout=_TORCH_TIMEOUT
        )
        devices: dict[str, Any] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return {"error": "PyTorch is installed but does not work"}
    return devices


def _advice(training: dict[str, Any]) -> list[str]:
    advice = ["Generating and scoring work without PyTorch."]
    if native.engine is None:
        advice.append(
            "The native engine is not installed. With it, generation is 10 to 30 times faster, and CPU training up to "
            "2 times. Install a C++ compiler, then reinstall charloom."
        )
    if "error" in training:
        return [*advice, f"Training is not available: {training['error']}. Run: pip install 'charloom[train]'"]
    if training["devices"]["cuda"] is None and training["devices"]["mps"] is None:
        advice.append(
            "No GPU was found. Training runs on the CPU, which is practical for up to a few million parameters."
        )
    if "bfloat16" in training["auto"] and "no fast bfloat16" not in training["auto"]:
        advice.append("Matrix products use bfloat16, which is faster than float32 on this hardware.")
    return advice


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}: {item or 'not available'}" for key, item in value.items())
    return "not installed" if value is None else str(value)
