"""The callback type by which long operations report their progress."""

from collections.abc import Callable

ProgressCallback = Callable[[int, int], None]
"""Called with the amount of work done and the total amount, which is 0 if unknown."""
