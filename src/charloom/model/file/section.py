"""The hook that checks the section ``training`` of a model file: its owner registers the check, this package calls it.

``charloom.training.checkpoint`` owns the section. ``charloom`` registers its check on import, so that every reader is
equally strict while nothing here knows optimizers. This module needs no NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from charloom.errors import ModelFileError

if TYPE_CHECKING:
    from charloom.model.architecture import Architecture
    from charloom.model.file.schema import Sized

    SectionCheck = Callable[[Any, Mapping[str, Any], Mapping[str, Sized], Architecture], None]

_checks: list[SectionCheck] = []


def register_section_check(check: SectionCheck) -> None:
    """Register the check that every reader and writer of a model file calls, in place of the one before.

    Args:
        check: Raises ``ModelFileError`` if the section is invalid. It takes the section's facts (a JSON value), the
            model's facts, the section's tensors by their names without prefix, and the architecture.
    """
    _checks[:] = [check]


def check_section(
    section: Any, facts: Mapping[str, Any], tensors: Mapping[str, Sized], architecture: Architecture
) -> None:
    """Raise ``ModelFileError`` unless a file's section is valid; see ``register_section_check``."""
    if not _checks:
        raise ModelFileError(
            "The file has a section 'training', but no check of that section is registered. Run `import charloom` "
            "first.",
            code="no_section_check",
        )
    _checks[0](section, facts, tensors, architecture)
