"""Check that optional dependencies are installed before anything that needs them is imported."""

from importlib.util import find_spec

from charloom.errors import MissingExtraError


def require_extra(what: str, extra: str, *modules: str) -> None:
    """Raise ``MissingExtraError``, saying how to get them, unless optional modules are installed.

    Args:
        what: Needs them; the sentence begins with it.
        extra: Of charloom, which brings them.
        modules: Their names.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise MissingExtraError(
            f"{what} needs {', '.join(missing)}, which {verb} not installed: pip install 'charloom[{extra}]'."
        )


def require_torch() -> None:
    """Raise ``MissingExtraError``, saying how to get it, unless PyTorch is installed."""
    if find_spec("torch") is None:
        raise MissingExtraError(
            "Training needs PyTorch, which is not installed: pip install 'charloom[train]'. To have its small build "
            "without GPU support, first run the command for CPU of https://pytorch.org/get-started/locally"
        )
