"""Models on the Hugging Face Hub."""

from charloom.interop.hub.client import pull, push

__all__ = ["pull", "push"]
