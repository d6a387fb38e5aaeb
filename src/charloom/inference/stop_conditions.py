"""Detect stop conditions in a text that is generated in pieces: stop sequences and a maximum number of lines."""

from charloom.inference.generation_options import Ending


class StopMatcher:
    """Detects where one text ends; the result does not depend on how the text is split into pieces.

    The text ends before the first stop sequence that is completed, or before the line feed that ends the last allowed
    line.

    Args:
        ending: The stop conditions.
    """

    def __init__(self, ending: Ending) -> None:
        self._stop, self._lines_left = ending.stop, ending.max_lines
        self._withheld = ""

    def take(self, text: str, at_end: bool = False) -> tuple[str, bool]:
        """Append the next characters.

        Args:
            text: The next characters of the text.
            at_end: Whether the text is complete after these characters.

        Returns:
            The characters that can be shown because they cannot belong to a stop sequence, and whether the text ends
            after them.
        """
        text = self._withheld + text
        end = self._stop_start(text)
        safe = len(text) if at_end else len(text) - self._uncertain(text)
        line_end = self._last_line_end(text[: safe if end is None else end])
        if line_end is not None:
            end = line_end
        if end is not None:
            return text[:end], True
        self._withheld = text[safe:]
        return text[:safe], False

    def _stop_start(self, text: str) -> int | None:
        """Return the start of the stop sequence that is completed first, or None if none is complete."""
        matches = ((text.find(string), len(string)) for string in self._stop)
        complete = [(start + size, start) for start, size in matches if start >= 0]
        return min(complete)[1] if complete else None

    def _uncertain(self, text: str) -> int:
        """Return the length of the longest suffix that is a proper prefix of a stop sequence."""
        longest = max((len(string) for string in self._stop), default=1) - 1
        for size in range(min(longest, len(text)), 0, -1):
            if any(string.startswith(text[-size:]) for string in self._stop):
                return size
        return 0

    def _last_line_end(self, shown: str) -> int | None:
        """Count the line ends in ``shown``; return the position of the last allowed one, or None if not reached."""
        if self._lines_left is None:
            return None
        position = -1
        while (position := shown.find("\n", position + 1)) >= 0:
            self._lines_left -= 1
            if self._lines_left == 0:
                return position
        return None
