"""The registered check of the section ``training`` in a checkpoint.

``charloom.training.checkpoint`` defines the section and its check, which ``import charloom`` registers here. All
readers of model files thus apply the same check, and this package does not depend on the training code. This module
does not import NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from charloom.errors import ModelFileError

if TYPE_CHECKING:
    from charloom.model.architecture import Architecture
    from charloom.model.file.schema import TensorSpec

    SectionCheck = Callable[[Any, Mapping[str, Any], Mapping[str, TensorSpec], Architecture], None]

_checks: list[SectionCheck] = []


def register_section_check(check: SectionCheck) -> None:
    """Register the check that all readers and writers of model files call; it replaces an earlier one.

    Args:
        check: A function that raises ``ModelFileError`` if the section is invalid. Its arguments are the facts of the
            section (a JSON value), the facts of the model, the tensors of the section by name without prefix, and the
            architecture.
    """
    _checks[:] = [check]


def check_section(
    section: Any, facts: Mapping[str, Any], tensors: Mapping[str, TensorSpec], architecture: Architecture
) -> None:
    """Check the section ``training`` with the registered check; raise ``ModelFileError`` if it is invalid."""
    if not _checks:
        raise ModelFileError(
            "The file has a section 'training', but no check of that section is registered. Run `import charloom` "
            "first.",
            code="no_section_check",
        )
    _checks[0](section, facts, tensors, architecture)
