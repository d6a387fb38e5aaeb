"""The compiled extension module, or the reason why it could not be loaded.

Attributes:
    engine: The compiled module, or None if it could not be loaded.
    missing: The reason why ``engine`` is None, as a clause for messages; "" otherwise.
"""

import os
from types import ModuleType

from charloom.errors import SettingsError

ISA = "CHARLOOM_ISA"
"""Environment variable that selects the instruction set; the default is the fastest one that the CPU supports."""

engine: ModuleType | None
missing = ""
try:
    from charloom.native import _engine as engine
except ImportError as error:
    engine = None
    missing = f"the native engine is not installed ({error})"


def instruction_sets() -> list[str]:
    """Return the instruction sets that the module was compiled for and this CPU supports, fastest first."""
    return [] if engine is None else list(engine.isas())


def chosen_isa() -> str:
    """Return the instruction set to use: that of ``CHARLOOM_ISA``, else the fastest. Requires the compiled module.

    Raises:
        SettingsError: If ``CHARLOOM_ISA`` names an unsupported instruction set.
    """
    available = instruction_sets()
    isa = os.environ.get(ISA) or available[0]
    if isa not in available:
        raise SettingsError(
            f"The environment variable {ISA} must be one of {', '.join(available)} on this processor, got {isa!r}.",
            code="invalid_setting",
            name=ISA,
            value=isa,
            accepted=available,
        )
    return isa
