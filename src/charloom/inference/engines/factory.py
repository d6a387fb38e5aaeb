"""Choose an engine: the one named by CHARLOOM_ENGINE, else native if it is compiled, else NumPy."""

import os

from charloom.errors import SettingsError
from charloom.inference.engines.base import Engine
from charloom.inference.engines.folding import fold
from charloom.inference.engines.numpy import NumpyEngine
from charloom.model.file.model_file import SavedModel
from charloom.native import engine as compiled
from charloom.native import missing

ENGINE = "CHARLOOM_ENGINE"
"""Environment variable that selects the engine: native or numpy."""


def make_engine(model: SavedModel, precision: str = "float32", threads: int | None = None) -> Engine:
    """Create the fastest available engine for a model.

    Args:
        model: The model.
        precision: "float32", or "int8", which is faster and gives the same text on every machine.
        threads: Maximum number of threads of the native engine; None for the number of cores.

    Raises:
        SettingsError: If ``CHARLOOM_ENGINE`` names an engine that does not exist or is not installed.
        ModelFileError: If the weights are so large that sums of them overflow.
    """
    network = fold(model.architecture, model.weights, precision)
    if engine_name() == "native":
        from charloom.inference.engines.native import NativeEngine  # the import fails if nothing was compiled

        return NativeEngine(model.architecture, network, threads)
    return NumpyEngine(model.architecture, network)


def engine_name() -> str:
    """Return the name of the engine to use: ``CHARLOOM_ENGINE`` if set, else native if compiled, else numpy."""
    requested = os.environ.get(ENGINE, "")
    if requested not in ("", "native", "numpy"):
        raise SettingsError(
            f"The environment variable {ENGINE} must be native or numpy, got {requested!r}. Unset it to use the "
            "fastest engine available.",
            code="invalid_setting",
            name=ENGINE,
            value=requested,
            accepted=["native", "numpy"],
        )
    if requested == "native" and compiled is None:
        raise SettingsError(
            f"{ENGINE} is native, but {missing}. Unset it to use NumPy.",
            code="native_engine_unavailable",
            reason=str(missing),
        )
    return requested or ("numpy" if compiled is None else "native")
