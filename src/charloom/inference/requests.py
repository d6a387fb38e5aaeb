"""From the options of one call to what is to be written."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, TypedDict

from charloom._util.suggest import did_you_mean
from charloom.errors import SettingsError
from charloom.inference.generation import Request, random_seed
from charloom.inference.generation_options import PRECISIONS, Ending, Sampling


class WritingOptions(TypedDict, total=False):
    """What can be asked of ``Model.generate`` and ``Model.stream``, beyond prompt, length, temperature and seed.

    Attributes:
        top_k: See ``Sampling``, as for the next six.
        top_p: A share of the probability.
        min_p: A share of the likeliest character's probability.
        repetition_penalty: Above 1 makes recent characters less likely.
        repetition_window: How many characters are recent.
        presence_penalty: See ``Sampling``, as for the next.
        frequency_penalty: Makes characters less likely the more often they were written.
        allow: Characters that alone are drawn.
        forbid: Characters that are not drawn.
        stop: A string, or several, before which the text ends.
        max_lines: After how many lines it ends.
        unknown: "error", "skip" or "replace"; see ``Request``.
        precision: "auto", "int8" or "float32".
    """

    top_k: int | None
    top_p: float
    min_p: float
    repetition_penalty: float
    repetition_window: int
    presence_penalty: float
    frequency_penalty: float
    allow: str | None
    forbid: str | None
    stop: str | Sequence[str]
    max_lines: int | None
    unknown: str
    precision: str


def make_request(
    prompt: str, length: int, temperature: float, seed: int | None, options: Mapping[str, Any], **others: Any
) -> tuple[Request, str]:
    """Return what is to be written, and in which precision.

    Args:
        prompt: See ``Request``.
        length: Likewise.
        temperature: See ``Sampling``.
        seed: Drawn at random if None.
        options: Any of ``WritingOptions``.
        **others: Any other field of ``Request``.

    Raises:
        SettingsError: If an option is not one of these, or out of range.
    """
    known = WritingOptions.__annotations__
    for name in options:
        if name not in known:
            hint = did_you_mean(name, known)
            raise SettingsError(f"There is no option {name!r} of writing.{hint} Known are {', '.join(known)}.")
    precision = options.get("precision", "auto")
    if precision not in PRECISIONS:
        raise SettingsError(f"precision must be one of {', '.join(PRECISIONS)}; got {precision!r}.")
    stop = options.get("stop", ())
    drawing = {field.name for field in fields(Sampling)}
    request = Request(
        prompt=prompt,
        length=length,
        sampling=Sampling(temperature, **{name: options[name] for name in options if name in drawing}),
        ending=Ending((stop,) if isinstance(stop, str) else tuple(stop), options.get("max_lines")),
        seed=random_seed() if seed is None else seed,
        unknown=options.get("unknown", "error"),
        **others,
    )
    return request, precision
