"""The compiled module, or the reason why it could not be loaded.

Attributes:
    engine: The compiled module, or None.
    missing: Why it is None, as part of a sentence.
"""

import os
from types import ModuleType

from charloom.errors import SettingsError

ISA = "CHARLOOM_ISA"
"""The environment variable that names the instruction set; without it the fastest that the processor has."""

engine: ModuleType | None
missing = ""
try:
    from charloom.native import _engine as engine
except ImportError as error:
    engine = None
    missing = f"the native engine is not installed ({error})"


def instruction_sets() -> list[str]:
    """Return the names of those that the engine has and this processor can run, the fastest first."""
    return [] if engine is None else list(engine.isas())


def chosen_isa() -> str:
    """Return the instruction set that the engine, which must be there, uses: ``CHARLOOM_ISA``'s, else the fastest.

    Raises:
        SettingsError: If it names one that cannot be used here.
    """
    found = instruction_sets()
    asked = os.environ.get(ISA) or found[0]
    if asked not in found:
        known = ", ".join(found)
        raise SettingsError(f"{ISA} must be one of {known} on this processor, or unset; it is {asked!r}.")
    return asked
