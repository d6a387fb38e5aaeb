"""Deprecated import paths, which work for one more release and emit a ``DeprecationWarning``.

A finder at the end of ``sys.meta_path`` creates the old modules on import. They are empty, and look up each attribute
in its new module.
"""

import sys
import warnings
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_PACKAGES = ("charloom.plan", "charloom.runtime", "charloom.text")

_MODULES = {
    "charloom.interop.html_page": "charloom.web.single_page",
    "charloom.interop.keras_import": "charloom.interop.keras.importer",
    "charloom.interop.on_dask": "charloom.bulk.dask",
    "charloom.model.model_file": "charloom.model.file.model_file",
    "charloom.model.naming": "charloom._util.unused_names",
    "charloom.plan.planner": "charloom.planning.schedule",
    "charloom.plan.recipes": "charloom.planning.recipes",
    "charloom.plan.settings": "charloom.planning.settings",
    "charloom.runtime.bulk": "charloom.bulk.runner",
    "charloom.runtime.bulk_results": "charloom.bulk.results",
    "charloom.runtime.bulk_scoring": "charloom.bulk.scoring",
    "charloom.runtime.bulk_writing": "charloom.bulk.generation",
    "charloom.runtime.engine": "charloom.inference.engines.base",
    "charloom.runtime.generation": "charloom.inference.generation",
    "charloom.runtime.inspection": "charloom.inference.activations",
    "charloom.runtime.language_model": "charloom.inference.model",
    "charloom.runtime.novelty": "charloom.inference.memorization",
    "charloom.runtime.options": "charloom.inference.generation_options",
    "charloom.runtime.requests": "charloom.inference.generation",
    "charloom.text.corpus": "charloom.data.corpus",
    "charloom.text.files": "charloom._util.atomic_io",
    "charloom.text.vocabulary": "charloom.data.vocabulary.characters",
    "charloom.training.device": "charloom.training.backends.torch.device",
    "charloom.training.evaluation": "charloom.training.backends.torch.evaluate",
    "charloom.training.loop": "charloom.training.backends.torch.backend",
    "charloom.training.network": "charloom.training.backends.torch.network",
    "charloom.training.optimizer": "charloom.training.backends.torch.optimizer",
    "charloom.training.records": "charloom.training.events",
    "charloom.training.streams": "charloom.training.batches",
}
"""The new module for each old module."""

_NAMES = {
    "charloom.errors.is_out_of_memory": "charloom._util.memory.is_out_of_memory",
    "charloom.errors.require_extra": "charloom._util.extras.require_extra",
    "charloom.model.model_file.SavedTraining": "charloom.training.checkpoint.SavedTraining",
    "charloom.model.model_file.load_checkpoint": "charloom.training.checkpoint.load_checkpoint",
    "charloom.model.model_file.read_checkpoint": "charloom.training.checkpoint.read_checkpoint",
    "charloom.model.naming.free_name": "charloom._util.unused_names.unused_name",
    "charloom.runtime.bulk.run_here": "charloom.bulk.runner.run_in_process",
    "charloom.runtime.bulk_results.Kept": "charloom.bulk.results.FilterCounts",
    "charloom.runtime.bulk_results.kept_lines": "charloom.bulk.results.filter_lines",
    "charloom.runtime.bulk_results.write_kept": "charloom.bulk.results.write_filtered",
    "charloom.runtime.bulk_scoring.score_job": "charloom.bulk.scoring.scoring_job",
    "charloom.runtime.bulk_writing.writing_job": "charloom.bulk.generation.generation_job",
    "charloom.runtime.engine.engine_name": "charloom.inference.engines.factory.engine_name",
    "charloom.runtime.engine.make_engine": "charloom.inference.engines.factory.make_engine",
    "charloom.runtime.generation.Writer": "charloom.inference.generation.TextStreamer",
    "charloom.runtime.generation.cursor_behind": "charloom.inference.generation.cursor_after",
    "charloom.runtime.generation.go_on": "charloom.inference.generation.continue_text",
    "charloom.runtime.generation.opening": "charloom.inference.generation.start_character",
    "charloom.runtime.generation.read_text": "charloom.inference.generation.prefill",
    "charloom.runtime.generation.stand_in": "charloom.data.vocabulary.characters.replacement_character",
    "charloom.runtime.inspection.Guesses": "charloom.inference.activations.TopPredictions",
    "charloom.runtime.inspection.likeliest_of": "charloom.inference.activations.top_k",
    "charloom.runtime.inspection.top_guesses": "charloom.inference.activations.top_predictions",
    "charloom.runtime.inspection.traced": "charloom.inference.activations.iter_traces",
    "charloom.runtime.novelty.Novelty": "charloom.inference.memorization.Memorization",
    "charloom.runtime.novelty.copied_lines": "charloom.inference.memorization.copied_records",
    "charloom.runtime.novelty.novelty": "charloom.inference.memorization.measure_memorization",
    "charloom.text.corpus.Split": "charloom.data.splits.TextSplit",
    "charloom.text.files.write_whole": "charloom._util.atomic_io.write_atomically",
    "charloom.training.device.Device": "charloom.training.backends.torch.device.TorchDevice",
    "charloom.training.device.kept_memory": "charloom.training.steps.kept_memory",
    "charloom.training.evaluation.EvaluationStopped": "charloom.training.evaluate.EvaluationStopped",
    "charloom.training.network.NetworkState": "charloom.training.backends.torch.layers.NetworkState",
    "charloom.training.optimizer.learning_rate_at": "charloom.training.optim.schedules.learning_rate_at",
    "charloom.training.streams.Batch": "charloom.training.batches.base.Batch",
    "charloom.training.streams.LineGroups": "charloom.training.batches.records.RecordGroups",
    "charloom.training.streams.Position": "charloom.training.batches.base.Position",
    "charloom.training.streams.shuffled_order": "charloom.training.batches.windows.shuffled_order",
}
"""The new name for each renamed name, and for each name that moved out of a module that still exists."""


class _OldModules:
    """The finder and loader of the old modules (PEP 451)."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the spec of an old module; None for any other name."""
        if name not in _MODULES and name not in _PACKAGES:
            return None
        return ModuleSpec(name, _OldModules, is_package=name in _PACKAGES)  # type: ignore[arg-type]

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        """Return None, so that the import system creates a default module."""

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """Install a ``__getattr__`` in the module that looks up names in their new modules."""
        module.__getattr__ = partial(deprecated_name, module.__name__)  # type: ignore[method-assign]


def install() -> None:
    """Register the finder, which makes the old modules importable."""
    if _OldModules not in sys.meta_path:
        sys.meta_path.append(_OldModules)


def deprecated_name(module: str, name: str) -> Any:
    """Return the object with a deprecated name, and emit a ``DeprecationWarning``.

    Args:
        module: Old module of the object.
        name: Old name of the object in that module.

    Raises:
        AttributeError: If the module never had this name.
    """
    old = f"{module}.{name}"
    new = _NAMES.get(old) or (f"{_MODULES[module]}.{name}" if module in _MODULES else "")
    home, _, attribute = new.rpartition(".")
    if not home or name.startswith("__"):
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    value = getattr(import_module(home), attribute)
    warnings.warn(
        f"{old} is deprecated and will be removed in the next release. Use {new}.", DeprecationWarning, stacklevel=2
    )
    return value
