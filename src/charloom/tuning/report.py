"""A search for better settings as one self-contained page; it holds no script."""

import html
import re
from collections.abc import Iterable, Sequence

from charloom._version import __version__
from charloom.tuning.charts import curves, scatter
from charloom.tuning.search_space import differences
from charloom.tuning.trials import Outcome, Trial, TuningTask, counts
from charloom.tuning.verdict import changes, listed, shown
from charloom.web.content_security_policy import content_security_policy
from charloom.web.html_template import fill_template, read_asset
from charloom.web.report_page import report_style

_DARK = re.compile(r':root\[data-theme="dark"\] (\{.*?\})', re.S)
_KINDS = {"plan": "the plan", "best": "the best trial", "complete": "other trials", "pruned": "given up early"}
_ORDER = {kind: place for place, kind in enumerate(("pruned", "complete", "plan", "best"))}


def tuning_page(
    task: TuningTask, trials: Sequence[Trial], checks: Sequence[Trial], found: Outcome, verdict: Iterable[str]
) -> str:
    """Return the page of a search.

    Args:
        task: What was searched.
        trials: All of them.
        checks: The trainings that check the result.
        found: What came of it.
        verdict: What it came to, in sentences.
    """
    tried = [trial for trial in trials if trial.is_judged]
    style = _style()

    def kind(trial: Trial) -> str:
        if found.best is not None and trial.number == found.best.number:
            return "best"
        return "plan" if found.plan is not None and trial.number == found.plan.number else trial.state

    def name(trial: Trial) -> str:
        return f"trial {trial.number}: {changes(task, trial)}; {_loss(trial)}"

    drawn = sorted(tried, key=lambda trial: _ORDER[kind(trial)])
    complete = any(trial.loss is not None for trial in tried)
    parts = {
        "policy": content_security_policy(None, style),
        "title": html.escape(f"{task.corpus}: tuning - charloom"),
        "style": style,
        "heading": html.escape(f"{task.corpus}: tuning"),
        "version": html.escape(__version__),
        "verdict": "".join(f"<p>{html.escape(sentence)}</p>" for sentence in verdict),
        "facts": "".join(
            f"<div><dt>{html.escape(key)}</dt><dd>{html.escape(value)}</dd></div>"
            for key, value in _facts(task, trials, found)
        ),
        "keys": "".join(f'<span class="{one}">{said}</span>' for one, said in _KINDS.items()),
        "curves": curves(drawn, kind, name) or '<p class="note">No training has been evaluated yet.</p>',
        "trials": "".join(_row(task, trial, kind(trial)) for trial in sorted(tried, key=_rank)),
        "checks": _checks(task, trials, checks),
        "settings": "".join(
            f"<figure><figcaption>{html.escape(axis.name)}</figcaption>{scatter(axis, drawn, kind, name)}</figure>"
            for axis in (task.axes if complete else ())
        ),
        "recipe": _recipe(task, found),
    }
    return fill_template(read_asset("report/tuning.html"), parts)


def _facts(task: TuningTask, trials: Sequence[Trial], found: Outcome) -> Iterable[tuple[str, str]]:
    seconds = sum(trial.facts.get("seconds", 0.0) for trial in trials)
    yield "each training", f"{task.plan.minutes:.3g} minutes"
    yield "complete, given up, failed", ", ".join(map(str, counts(trials).values()))
    yield "spent on all of them", f"{seconds / 60:.1f} minutes"
    yield "it started from", task.recipe
    if found.plan is not None:
        yield "the plan", f"{task.settings(found.plan.place).in_words}: {_loss(found.plan)}"
    if found.best is not None:
        yield "the best", f"{task.settings(found.best.place).in_words}: {_loss(found.best)}"
    if task.fixed:
        yield "fixed", listed(task.fixed)


def _row(task: TuningTask, trial: Trial, kind: str) -> str:
    share = trial.curve[-1][0] if trial.curve else 0.0
    state = "complete" if trial.state == "complete" else f"given up at {share:.0%}: {trial.reason}"
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
    said_of = [
        f"trial {one.checks} ({changes(task, trials[one.checks])}): {_loss(one)}{_steps(one)}"
        for one in checks
        if one.checks is not None and one.is_judged
    ]
    rows = [f"<li>{html.escape(sentence)}</li>" for sentence in said_of]
    if not rows:
        return ""
    said = "Trained once more, with another seed:"
    return f'<p class="note">{said}</p><ul>{"".join(rows)}</ul>'


def _steps(trial: Trial) -> str:
    return f" after {trial.facts['steps']:,} steps" if "steps" in trial.facts else ""


def _recipe(task: TuningTask, found: Outcome) -> str:
    if found.winner is None:
        return '<p class="note">None yet.</p>'
    changed = differences(task.result(found.winner), task.plan)
    changed.pop("warmup_steps", None)  # a short training's own
    if not changed:
        return f'<p class="note">It is {html.escape(task.recipe)}\'s plan as it was.</p>'
    rows = "".join(
        f"<tr><td>{html.escape(key)}</td><td>{shown(getattr(task.plan, key))}</td><td>{shown(value)}</td></tr>"
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
    """Return the style of the report's page; which colours it has, light or dark, the system says."""
    style = report_style()
    dark = _DARK.search(style)
    assert dark is not None
    return f"{style}\n@media (prefers-color-scheme: dark) {{ :root {dark[1]} }}\n{read_asset('report/tuning.css')}"
