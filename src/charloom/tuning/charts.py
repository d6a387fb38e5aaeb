"""The drawings of a search as SVG that needs no script: curves of its trainings, and losses over each setting."""

import html
import math
from collections.abc import Callable, Sequence

from charloom.tuning.search_space import Axis
from charloom.tuning.trials import Trial

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 320, 58, 22, 10, 40
_SIDE, _EDGE = 220, 12  # of a small drawing
_SHOWN_FROM = 0.3  # share of a training from which on its whole curve is to be seen

Kind = Callable[[Trial], str]
"""How a trial is drawn: a class of the style."""


def curves(trials: Sequence[Trial], kind: Kind, name: Callable[[Trial], str]) -> str:
    """Return the held-out losses of all trainings over the share of each that was done; empty without any.

    Args:
        trials: Those drawn last lie on top.
        kind: How each is drawn.
        name: What each is called where the pointer rests on it.
    """
    seen = [loss for trial in trials for share, loss in trial.curve if share >= _SHOWN_FROM]
    if not seen:
        return ""
    low, high = _with_room(min(seen), max(seen))

    def at(share: float, loss: float) -> tuple[float, float]:
        up = (loss - low) / (high - low)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT), _TOP + (1 - up) * (_HEIGHT - _TOP - _BOTTOM)

    parts = []
    for loss in ticks(low, high):
        x, y = at(1, loss)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{x:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(_LEFT - 6, y + 4, f"{loss:g}", "end"))
    for share in (0, 0.25, 0.5, 0.75, 1):
        parts.append(_text(at(share, low)[0], _HEIGHT - _BOTTOM + 18, f"{share:.0%}"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 4, "share of the training"))
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    inner = f'x="{_LEFT}" y="{_TOP}" width="{width}" height="{height}"'  # cuts off what lies outside
    parts.append(f'<svg {inner} viewBox="{_LEFT} {_TOP} {width} {height}">')
    for trial in trials:
        line = " ".join(f"{'L' if i else 'M'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(at(*p) for p in trial.curve))
        if line:
            parts.append(f'<path class="{kind(trial)}" d="{line}"><title>{html.escape(name(trial))}</title></path>')
    label = "Held-out loss of every training over the share of it that was done"
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg></svg>'


def scatter(axis: Axis, trials: Sequence[Trial], kind: Kind, name: Callable[[Trial], str]) -> str:
    """Return the losses of complete trials over one setting, those that were given up at the upper edge.

    Args:
        axis: The setting.
        trials: Those drawn last lie on top; at least one complete.
        kind: How each is drawn.
        name: What each is called where the pointer rests on it.
    """
    losses = [trial.loss for trial in trials if trial.loss is not None]
    low, high = _with_room(min(losses), max(losses))

    def across(place: float) -> float:
        inner = _SIDE - 2 * _EDGE
        if axis.values:
            return _EDGE + inner * place / (len(axis.values) - 1)
        return _EDGE + inner * math.log(place / axis.low) / math.log(axis.high / axis.low)

    def up(loss: float | None) -> float:
        return 0.0 if loss is None else _EDGE + (_SIDE - _EDGE) * (1 - (loss - low) / (high - low))

    parts = []
    for loss in ticks(low, high, 3):
        parts.append(f'<line class="grid" x1="0" x2="{_SIDE}" y1="{up(loss):.1f}" y2="{up(loss):.1f}"/>')
        parts.append(_text(-4, up(loss) + 4, f"{loss:g}", "end"))
    places = range(len(axis.values)) if axis.values else (axis.low, axis.start, axis.high)
    shown = places if len(places) < 5 else places[::2]
    parts += [_text(across(place), _SIDE + 16, f"{axis.value(place):.3g}") for place in shown]
    for trial in trials:
        dot = f'class="{kind(trial)}" cx="{across(trial.place[axis.name]):.1f}" cy="{up(trial.loss):.1f}" r="4"'
        parts.append(f"<circle {dot}><title>{html.escape(name(trial))}</title></circle>")
    label = f"Held-out loss over {axis.name}"
    return f'<svg viewBox="-48 -10 {_SIDE + 60} {_SIDE + 32}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers between two others, about so many."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [round(i * step, 10) for i in range(first, last + 1)]


def _with_room(low: float, high: float) -> tuple[float, float]:
    room = (high - low or abs(high) or 1.0) * 0.05
    return low - room, high + room


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'
