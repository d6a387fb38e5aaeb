"""Report of a search: recipe file, verdict, and a page with charts."""

import html
import math
import re
import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from charloom._util.atomic_io import write_atomically
from charloom._version import __version__
from charloom.errors import Notice
from charloom.model.file.run_folder import RECIPE
from charloom.planning.recipes import write_recipe
from charloom.tuning.search_space import Axis, differences
from charloom.tuning.storage import PAGE, TuningFolder
from charloom.tuning.trials import Outcome, Trial, TuningTask, counts, outcome
from charloom.web.content_security_policy import content_security_policy
from charloom.web.html_template import fill_template, read_asset
from charloom.web.report_page import report_style

_STEPS_TOLERANCE = 1.25  # times as many steps in the same time still count as the same speed of the machine
_BY_CHANCE = "The lowest loss among several trials is partly due to chance"

_DARK = re.compile(r':root\[data-theme="dark"\] (\{.*?\})', re.S)
_KINDS = {"plan": "plan", "best": "best trial", "complete": "other trials", "pruned": "pruned"}
_DRAWING_ORDER = {kind: order for order, kind in enumerate(("pruned", "complete", "plan", "best"))}

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 320, 58, 22, 10, 40  # pixels of the curves and their margins
_SCATTER_SIZE, _SCATTER_EDGE = 220, 12  # pixels of a scatter plot and of its margins
_SCALED_FROM = 0.3  # share of a training run after which its curve determines the scale of the chart

Kind = Callable[[Trial], str]
"""Maps a trial to the CSS class with which it is drawn."""


def write_result(folder: TuningFolder, sources: Sequence[str], seconds: float, interrupted: bool) -> dict[str, Any]:
    """Write the recipe file and the page of a search, and return its result: the keys of ``--json``.

    Args:
        folder: Folder of the search.
        sources: Paths of the corpus as given on the command line.
        seconds: Duration of this call.
        interrupted: Whether the search was interrupted.
    """
    task, trials, checks = folder.task, folder.trials.trials(), folder.checks.trials()
    result = outcome(trials, checks)
    verdict = tuning_verdict(task, result, sum(trial.is_judged for trial in trials))
    recipe = folder.path / RECIPE
    if result.winner is not None:
        text = write_recipe(task.recipe, task.result(result.winner), _recipe_comments(task, result.winner))
        write_atomically(recipe, text.encode("utf-8"))
    page = tuning_page(task, trials, checks, result, verdict)
    write_atomically(folder.path / PAGE, page.encode("utf-8"))
    return {
        "folder": str(folder.path),
        "recipe": str(recipe) if result.winner is not None else None,
        "page": str(folder.path / PAGE),
        "minutes": task.plan.minutes,
        **counts(trials),
        "beats_plan": bool(result.winner is not None and result.winner != result.plan and result.is_checked),
        "best_trial": result.best.number if result.best else None,
        "best_val_loss": result.best.loss if result.best else None,
        "plan_val_loss": result.plan.loss if result.plan else None,
        "checked": _checked_losses(result),
        "settings": {} if result.winner is None else differences(task.settings(result.winner.point), task.plan),
        "verdict": " ".join(verdict),
        "seconds": seconds,
        "interrupted": interrupted,
        "commands": _next_commands(folder, result, sources, interrupted),
    }


def _recipe_comments(task: TuningTask, winner: Trial) -> dict[str, str]:
    return {
        "corpus": task.corpus,
        "corpus_sha256": task.corpus_sha256,
        "found": f"trial {winner.number} of a search",
        "val_loss": f"{winner.loss:.6g}",
        "made": time.strftime("%Y-%m-%d"),
        "charloom": __version__,
    }


def _next_commands(folder: TuningFolder, result: Outcome, sources: Sequence[str], interrupted: bool) -> dict[str, str]:
    corpus = shlex.join(sources)
    commands = {}
    if result.winner is not None:
        recipe = shlex.quote(str(folder.path / RECIPE))
        commands["train"] = f"charloom train {corpus} --recipe {recipe}"
    path = shlex.quote(str(folder.path))
    if interrupted:
        commands["go_on"] = f"charloom tune {corpus} -o {path} --hours 0.5"
    elif result.plan is not None and not result.is_checked:
        hours = 2.2 * folder.task.plan.minutes / 60
        commands["check"] = f"charloom tune {corpus} -o {path} --hours {hours:.2g}"
    return commands


def _checked_losses(result: Outcome) -> dict[str, float | None] | None:
    if result.plan_check is None or result.best_check is None:
        return None
    return {"plan_val_loss": result.plan_check.loss, "best_val_loss": result.best_check.loss}


# --- The verdict


def tuning_verdict(task: TuningTask, result: Outcome, trials: int) -> list[Notice]:
    """Return a verdict on a search as sentences for the user. Losses are held-out losses in nats per character.

    Args:
        task: Task of the search.
        result: Outcome of the search.
        trials: Number of complete and pruned trials, including the plan's.
    """
    name, plan, best = task.recipe, result.plan, result.best
    losses = {"plan_loss": plan and plan.loss, "best_loss": best and best.loss}
    if trials == 0:
        return [
            Notice(
                f"No training of {task.plan.minutes:.3g} minutes was completed. Increase --hours or decrease "
                "--minutes.",
                code="no_trial_completed",
                minutes=task.plan.minutes,
            )
        ]
    if plan is None or best is None:
        return [
            Notice(
                f"The training of the {name} plan was not completed, so there is no baseline yet. Increase --hours.",
                code="plan_not_completed",
            )
        ]
    if best == plan:
        if trials < 2:
            return [
                Notice(
                    f"Only the {name} plan was tried; its loss is {_nats(plan)}. Increase --hours.",
                    code="only_plan_tried",
                    **losses,
                )
            ]
        return [
            Notice(
                f"No better settings were found: of {trials} trials, the {name} plan has the lowest loss, "
                f"{_nats(plan)}.",
                code="no_better_settings",
                **losses,
            )
        ]
    if result.plan_check is None or result.best_check is None:
        return [
            Notice(
                f"Trial {best.number} has a lower loss, {_nats(best)}, than the {name} plan, {_nats(plan)}. "
                f"{_BY_CHANCE}, and there was no time to confirm the result with another seed.",
                code="result_not_confirmed",
                **losses,
            )
        ]
    losses |= {"plan_check_loss": result.plan_check.loss, "best_check_loss": result.best_check.loss}
    warning = _speed_warning(best, result.best_check) or _speed_warning(plan, result.plan_check)
    if result.winner is best:
        return [
            Notice(
                f"The tuned recipe is better than the {name} plan{_by(result.plan_check, result.best_check)}. Trained "
                f"again with another seed, their losses are {_nats(result.best_check)} and {_nats(result.plan_check)}; "
                f"in the search they were {_nats(best)} and {_nats(plan)}.",
                code="better_settings_found",
                **losses,
            ),
            *warning,
        ]
    return [
        Notice(
            f"No better settings were found. In the search, trial {best.number} had a loss of {_nats(best)} and the "
            f"{name} plan {_nats(plan)}. Trained again with another seed, they have {_nats(result.best_check)} and "
            f"{_nats(result.plan_check)}. {_BY_CHANCE}. Keep {name}.",
            code="improvement_not_confirmed",
            **losses,
        ),
        *warning,
    ]


def changes(task: TuningTask, trial: Trial) -> str:
    """Return the settings in which a trial differs from the plan, as text."""
    return listed(differences(task.settings(trial.point), task.plan)) or "the plan"


def listed(values: Mapping[str, object]) -> str:
    """Return settings and their values as one line of text."""
    return ", ".join(f"{name} {format_value(value)}" for name, value in values.items())


def format_value(value: object) -> str:
    """Return a setting's value as text, floats with three significant digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _speed_warning(trial: Trial, check: Trial) -> list[Notice]:
    """Return a warning if the same settings trained at a very different speed in the check."""
    steps, again = trial.facts.get("steps"), check.facts.get("steps")
    if not steps or not again or max(steps, again) <= _STEPS_TOLERANCE * min(steps, again):
        return []
    return [
        Notice(
            f"Warning: in the same time, trial {trial.number} made {steps:,} steps in the search but {again:,} in the "
            "check. The machine was busy with other work, so these losses are not reliable. Repeat the search on an "
            "idle machine.",
            code="unreliable_speed",
            trial=trial.number,
            search_steps=steps,
            check_steps=again,
        )
    ]


def _nats(trial: Trial) -> str:
    return "no finite loss" if trial.loss is None else f"{trial.loss:.4f} nats"


def _by(plan: Trial, best: Trial) -> str:
    return "" if plan.loss is None or best.loss is None else f" by {plan.loss - best.loss:.4f}"


# --- The page


def tuning_page(
    task: TuningTask, trials: Sequence[Trial], checks: Sequence[Trial], result: Outcome, verdict: Iterable[str]
) -> str:
    """Return the page of a search as HTML.

    Args:
        task: Task of the search.
        trials: All trials.
        checks: The training runs that check the result.
        result: Outcome of the search.
        verdict: See ``tuning_verdict``.
    """
    judged = [trial for trial in trials if trial.is_judged]
    style = _style()

    def kind(trial: Trial) -> str:
        if result.best is not None and trial.number == result.best.number:
            return "best"
        return "plan" if result.plan is not None and trial.number == result.plan.number else trial.state

    def name(trial: Trial) -> str:
        return f"trial {trial.number}: {changes(task, trial)}; {_loss(trial)}"

    drawn = sorted(judged, key=lambda trial: _DRAWING_ORDER[kind(trial)])
    complete = any(trial.loss is not None for trial in judged)
    parts = {
        "policy": content_security_policy(None, style),
        "title": html.escape(f"{task.corpus}: tuning - charloom"),
        "style": style,
        "heading": html.escape(f"{task.corpus}: tuning"),
        "version": html.escape(__version__),
        "verdict": "".join(f"<p>{html.escape(sentence)}</p>" for sentence in verdict),
        "facts": "".join(
            f"<div><dt>{html.escape(key)}</dt><dd>{html.escape(value)}</dd></div>"
            for key, value in _facts(task, trials, result)
        ),
        "keys": "".join(f'<span class="{css_class}">{label}</span>' for css_class, label in _KINDS.items()),
        "curves": curves(drawn, kind, name) or '<p class="note">No training has been evaluated yet.</p>',
        "trials": "".join(_row(task, trial, kind(trial)) for trial in sorted(judged, key=_rank)),
        "checks": _checks(task, trials, checks),
        "settings": "".join(
            f"<figure><figcaption>{html.escape(axis.name)}</figcaption>{scatter(axis, drawn, kind, name)}</figure>"
            for axis in (task.axes if complete else ())
        ),
        "recipe": _recipe(task, result),
    }
    return fill_template(read_asset("report/tuning.html"), parts)


def _facts(task: TuningTask, trials: Sequence[Trial], result: Outcome) -> Iterable[tuple[str, str]]:
    seconds = sum(trial.facts.get("seconds", 0.0) for trial in trials)
    yield "time per training", f"{task.plan.minutes:.3g} minutes"
    yield "complete, pruned, failed", ", ".join(map(str, counts(trials).values()))
    yield "total training time", f"{seconds / 60:.1f} minutes"
    yield "base recipe", task.recipe
    if result.plan is not None:
        yield "plan", f"{task.settings(result.plan.point).in_words}: {_loss(result.plan)}"
    if result.best is not None:
        yield "best trial", f"{task.settings(result.best.point).in_words}: {_loss(result.best)}"
    if task.fixed:
        yield "fixed settings", listed(task.fixed)


def _row(task: TuningTask, trial: Trial, kind: str) -> str:
    share = trial.curve[-1][0] if trial.curve else 0.0
    state = "complete" if trial.state == "complete" else f"pruned at {share:.0%}: {trial.reason}"
    facts = trial.facts
    cells = (
        str(trial.number),
        _loss(trial),
        changes(task, trial),
        state,
        f"{facts['parameters']:,}" if "parameters" in facts else "",
        f"{facts['steps']:,}" if "steps" in facts else "",
    )
    return f'<tr class="{kind}">{"".join(f"<td>{html.escape(cell)}</td>" for cell in cells)}</tr>'


def _checks(task: TuningTask, trials: Sequence[Trial], checks: Sequence[Trial]) -> str:
    sentences = [
        f"trial {check.checks} ({changes(task, trials[check.checks])}): {_loss(check)}{_steps(check)}"
        for check in checks
        if check.checks is not None and check.is_judged
    ]
    rows = [f"<li>{html.escape(sentence)}</li>" for sentence in sentences]
    if not rows:
        return ""
    heading = "Trained again with another seed:"
    return f'<p class="note">{heading}</p><ul>{"".join(rows)}</ul>'


def _steps(trial: Trial) -> str:
    return f" after {trial.facts['steps']:,} steps" if "steps" in trial.facts else ""


def _recipe(task: TuningTask, result: Outcome) -> str:
    if result.winner is None:
        return '<p class="note">None yet.</p>'
    changed = differences(task.result(result.winner), task.plan)
    changed.pop("warmup_steps", None)  # follows from the length of the training
    if not changed:
        return f'<p class="note">The unchanged {html.escape(task.recipe)} plan.</p>'
    rows = "".join(
        f"<tr><td>{html.escape(key)}</td><td>{format_value(getattr(task.plan, key))}</td>"
        f"<td>{format_value(value)}</td></tr>"
        for key, value in changed.items()
    )
    head = "<thead><tr><th>setting</th><th>plan</th><th>recipe</th></tr></thead>"
    return f'<div class="scroll"><table>{head}<tbody>{rows}</tbody></table></div>'


def _rank(trial: Trial) -> tuple[bool, float, int]:
    lowest = min((loss for _, loss in trial.curve), default=float("inf"))
    return trial.loss is None, trial.loss if trial.loss is not None else lowest, trial.number


def _loss(trial: Trial) -> str:
    if trial.loss is not None:
        return f"{trial.loss:.4f}"
    return f"{trial.curve[-1][1]:.4f} at {trial.curve[-1][0]:.0%}" if trial.curve else "none"


def _style() -> str:
    """Return the report's style sheet, with light or dark colors according to the system's preference."""
    style = report_style()
    dark = _DARK.search(style)
    assert dark is not None
    return f"{style}\n@media (prefers-color-scheme: dark) {{ :root {dark[1]} }}\n{read_asset('report/tuning.css')}"


# --- Its charts


def curves(trials: Sequence[Trial], kind: Kind, name: Callable[[Trial], str]) -> str:
    """Return an SVG chart of each trial's held-out loss over the share of its training; "" if there are no losses.

    Args:
        trials: Trials; the last ones are drawn on top.
        kind: CSS class of each trial.
        name: Tooltip of each trial.
    """
    seen = [loss for trial in trials for share, loss in trial.curve if share >= _SCALED_FROM]
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
    inner = f'x="{_LEFT}" y="{_TOP}" width="{width}" height="{height}"'  # clips what lies outside
    parts.append(f'<svg {inner} viewBox="{_LEFT} {_TOP} {width} {height}">')
    for trial in trials:
        line = " ".join(f"{'L' if i else 'M'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(at(*p) for p in trial.curve))
        if line:
            parts.append(f'<path class="{kind(trial)}" d="{line}"><title>{html.escape(name(trial))}</title></path>')
    label = "Held-out loss of every trial over the share of its training"
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg></svg>'


def scatter(axis: Axis, trials: Sequence[Trial], kind: Kind, name: Callable[[Trial], str]) -> str:
    """Return an SVG chart of the losses of complete trials over one axis; pruned trials are at the upper edge.

    Args:
        axis: Axis of the search space.
        trials: Trials, at least one of them complete; the last ones are drawn on top.
        kind: CSS class of each trial.
        name: Tooltip of each trial.
    """
    losses = [trial.loss for trial in trials if trial.loss is not None]
    low, high = _with_room(min(losses), max(losses))

    def across(coordinate: float) -> float:
        inner = _SCATTER_SIZE - 2 * _SCATTER_EDGE
        if axis.values:
            return _SCATTER_EDGE + inner * coordinate / (len(axis.values) - 1)
        return _SCATTER_EDGE + inner * math.log(coordinate / axis.low) / math.log(axis.high / axis.low)

    def up(loss: float | None) -> float:
        return (
            0.0 if loss is None else _SCATTER_EDGE + (_SCATTER_SIZE - _SCATTER_EDGE) * (1 - (loss - low) / (high - low))
        )

    parts = []
    for loss in ticks(low, high, 3):
        parts.append(f'<line class="grid" x1="0" x2="{_SCATTER_SIZE}" y1="{up(loss):.1f}" y2="{up(loss):.1f}"/>')
        parts.append(_text(-4, up(loss) + 4, f"{loss:g}", "end"))
    coordinates = range(len(axis.values)) if axis.values else (axis.low, axis.start, axis.high)
    labelled = coordinates if len(coordinates) < 5 else coordinates[::2]
    parts += [_text(across(at), _SCATTER_SIZE + 16, f"{axis.value(at):.3g}") for at in labelled]
    for trial in trials:
        dot = f'class="{kind(trial)}" cx="{across(trial.point[axis.name]):.1f}" cy="{up(trial.loss):.1f}" r="4"'
        parts.append(f"<circle {dot}><title>{html.escape(name(trial))}</title></circle>")
    label = f"Held-out loss over {axis.name}"
    view = f'viewBox="-48 -10 {_SCATTER_SIZE + 60} {_SCATTER_SIZE + 32}"'
    return f'<svg {view} role="img" aria-label="{label}">{"".join(parts)}</svg>'


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return about ``about`` round numbers between two numbers."""
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
