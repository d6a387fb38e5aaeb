"""The callback type by which long operations report their progress."""

from collections.abc import Callable

ProgressCallback = Callable[[int, int], None]
"""Called with the amount of work done so far and its total (0 if the total is unknown)."""
