"""The one check that PyTorch is there, made before anything that needs it is imported."""

from importlib.util import find_spec

from charloom.errors import MissingExtraError


def require_torch() -> None:
    """Raise ``MissingExtraError``, saying how to get it, unless PyTorch is installed."""
    if find_spec("torch") is None:
        raise MissingExtraError(
            "Training needs PyTorch, which is not installed: pip install 'charloom[train]'. To have its small build "
            "without GPU support, first run the command for CPU of https://pytorch.org/get-started/locally"
        )
