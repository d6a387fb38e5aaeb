"""Where a text ends before its length is reached: at a stop string, or after some lines."""

from charloom.inference.generation_options import Ending


class StopMatcher:
    """Looks for the end of one text, however it comes in pieces.

    Args:
        ending: The text ends before the stop string that is complete first, and before the last line feed of so many.
    """

    def __init__(self, ending: Ending) -> None:
        self._stop, self._lines_left = ending.stop, ending.max_lines
        self._held = ""

    def take(self, text: str, at_end: bool = False) -> tuple[str, bool]:
        """Take the next characters.

        Args:
            text: What was written now.
            at_end: Whether nothing follows.

        Returns:
            What can be shown, which no stop string reaches into whatever follows; and whether the text ends with it.
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
        """Return where the stop string begins that is complete first, if one is: that does not depend on pieces."""
        places = ((text.find(string), len(string)) for string in self._stop)
        complete = [(place + size, place) for place, size in places if place >= 0]
        return min(complete)[1] if complete else None

    def _uncertain(self, text: str) -> int:
        """Return how many characters at the end may be the beginning of a stop string."""
        longest = max((len(string) for string in self._stop), default=1) - 1
        for size in range(min(longest, len(text)), 0, -1):
            if any(string.startswith(text[-size:]) for string in self._stop):
                return size
        return 0

    def _last_line_end(self, shown: str) -> int | None:
        """Return where the last line ends, if it does in what is shown now; count the lines that do."""
        if self._lines_left is None:
            return None
        place = -1
        while (place := shown.find("\n", place + 1)) >= 0:
            self._lines_left -= 1
            if self._lines_left == 0:
                return place
        return None
