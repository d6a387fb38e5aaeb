"""The settings that an exported page starts with. The reader of the page can change them."""

import html
from dataclasses import dataclass

from charloom.errors import SettingsError
from charloom.inference.generation_options import (
    DEFAULT_TEMPERATURE,
    Sampling,
    check_text,
    check_whole,
)

MAX_TEMPERATURE = 2.0  # the range and the step of the page's slider
_STEPS_PER_UNIT = 20
MAX_STOP = 64  # characters
VERSIONS = (1, 2, 3, 4)

_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


@dataclass(frozen=True)
class PagePresets:
    """Presets of the settings in an exported page.

    Attributes:
        temperature: Sampling temperature, a multiple of 0.05 from 0 to 2.
        stop: Stop sequence of 1 to 64 printable characters, tabs and line breaks; None for no stop sequence.
        versions: Number of continuations to choose from, 1 to 4.

    Raises:
        SettingsError: If a value is out of range.
    """

    temperature: float = DEFAULT_TEMPERATURE
    stop: str | None = None
    versions: int = 1

    def __post_init__(self) -> None:
        Sampling(temperature=self.temperature)  # checks that it is a finite number
        steps = self.temperature * _STEPS_PER_UNIT
        if self.temperature > MAX_TEMPERATURE or abs(steps - round(steps)) > 1e-9:
            raise SettingsError(
                f"temperature must be a multiple of {1 / _STEPS_PER_UNIT:g} from 0 to {MAX_TEMPERATURE:g}, the values "
                f"of the page's slider, got {self.temperature!r}.",
                code="invalid_setting",
                name="temperature",
                value=self.temperature,
                minimum=0,
                maximum=MAX_TEMPERATURE,
            )
        check_whole("versions", self.versions, VERSIONS[0], VERSIONS[-1])
        if self.stop is not None:
            self._check_stop(check_text("stop", self.stop))

    def _check_stop(self, stop: str) -> None:
        if not stop.translate(dict.fromkeys(map(ord, "\n\r\t"), "x")).isprintable() or not 0 < len(stop) <= MAX_STOP:
            raise SettingsError(
                f"stop must have 1 to {MAX_STOP} printable characters, tabs and line breaks, got {stop[:MAX_STOP]!r}.",
                code="invalid_setting",
                name="stop",
                value=stop[:MAX_STOP],
                max_length=MAX_STOP,
            )

    def slots(self) -> dict[str, str]:
        """Return the values of the form fields in ``shared/editor.html``, as HTML."""
        options = (f"<option{' selected' if count == self.versions else ''}>{count}</option>" for count in VERSIONS)
        return {
            "temperature": f"{self.temperature:g}",
            "versions": "".join(options),
            "stop": html.escape(self.typed_stop),
        }

    @property
    def typed_stop(self) -> str:
        """The stop sequence with escapes, as it is typed; "" for None."""
        return (self.stop or "").translate(_ESCAPES)
