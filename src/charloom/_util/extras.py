"""Check that optional dependencies are installed before anything that needs them is imported."""

from importlib.util import find_spec

from charloom.errors import MissingExtraError


def require_extra(feature: str, extra: str, *modules: str) -> None:
    """Raise ``MissingExtraError`` with the pip command if optional modules are not installed.

    Args:
        feature: The feature that requires the modules; the subject of the message, such as "Drawing figures".
        extra: The extra of the charloom package that installs the modules.
        modules: The required modules.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise MissingExtraError(
            f"{feature} requires {', '.join(missing)}, which {verb} not installed. "
            f"Run: pip install 'charloom[{extra}]'",
            code="missing_extra",
            extra=extra,
            modules=missing,
        )


def require_torch() -> None:
    """Raise ``MissingExtraError`` with the pip command if PyTorch is not installed."""
    if find_spec("torch") is None:
        raise MissingExtraError(
            "Training requires PyTorch, which is not installed. Run: pip install 'charloom[train]'. For the smaller "
            "CPU-only build, first install PyTorch as described at https://pytorch.org/get-started/locally",
            code="missing_extra",
            extra="train",
            modules=["torch"],
        )
