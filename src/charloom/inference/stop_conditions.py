"""Stop conditions: where a text ends before its length is reached, at a stop string or after a number of lines."""

from charloom.inference.generation_options import Ending


class StopMatcher:
    """Finds the end of one text that arrives in pieces; the result does not depend on how it is cut into pieces.

    Args:
        ending: The text ends before the first stop string to be completed, or before the line feed that ends the last
            line.
    """

    def __init__(self, ending: Ending) -> None:
        self._stop, self._lines_left = ending.stop, ending.max_lines
        self._held = ""

    def take(self, text: str, at_end: bool = False) -> tuple[str, bool]:
        """Append the next characters.

        Args:
            text: The next characters of the text.
            at_end: Whether these are the last.

        Returns:
            The characters that can be shown, as no stop string can begin in them; and whether the text ends there.
        """
        text = self._held + text
        end = self._stop_start(text)
        safe = len(text) if at_end else len(text) - self._uncertain(text)
        line_end = self._last_line_end(text[: safe if end is None else end])
        if line_end is not None:
            end = line_end
        if end is not None:
            return text[:end], True
        self._held = text[safe:]
        return text[:safe], False

    def _stop_start(self, text: str) -> int | None:
        """Return the start of the stop string that is completed first, or None."""
        places = ((text.find(string), len(string)) for string in self._stop)
        complete = [(place + size, place) for place, size in places if place >= 0]
        return min(complete)[1] if complete else None

    def _uncertain(self, text: str) -> int:
        """Return the number of characters at the end that may be the beginning of a stop string."""
        longest = max((len(string) for string in self._stop), default=1) - 1
        for size in range(min(longest, len(text)), 0, -1):
            if any(string.startswith(text[-size:]) for string in self._stop):
                return size
        return 0

    def _last_line_end(self, shown: str) -> int | None:
        """Count the lines that end in ``shown``; return the end of the last one allowed, or None."""
        if self._lines_left is None:
            return None
        place = -1
        while (place := shown.find("\n", place + 1)) >= 0:
            self._lines_left -= 1
            if self._lines_left == 0:
                return place
        return None
