"""Data of a search: task, trials, outcome."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from charloom.planning.settings import Settings
from charloom.tuning.search_space import Axis, Point, settings_at

State = Literal["waiting", "running", "complete", "pruned", "failed"]


@dataclass(frozen=True)
class TuningTask:
    """The definition of a search, shared by all processes that work in its folder.

    Attributes:
        corpus: Name of the text.
        corpus_sha256: SHA-256 of the text.
        format: The text format, as returned by ``TextFormat.to_dict``.
        recipe: Name of the recipe on which the plan is based.
        plan: Settings at which the search starts. Each trial takes ``plan.minutes``.
        fixed: Settings chosen by the user, which are not varied.
        axes: The search space.
        shortens_warmup: Whether the warm-up may be shortened for short training runs.
    """

    corpus: str
    corpus_sha256: str
    format: dict[str, Any]
    recipe: str
    plan: Settings
    fixed: dict[str, Any]
    axes: tuple[Axis, ...]
    shortens_warmup: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the task as JSON data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "TuningTask":
        """Return a task from the data of ``to_dict``.

        Raises:
            TypeError, KeyError, ValueError: If the data is invalid.
        """
        axes = [{**axis, "settings": tuple(axis["settings"]), "values": tuple(axis["values"])} for axis in data["axes"]]
        return cls(**{**data, "plan": Settings(**data["plan"]), "axes": tuple(Axis(**axis) for axis in axes)})

    def settings(self, point: Point) -> Settings:
        """Return the settings of a point."""
        return settings_at(self.plan, self.axes, point)

    def result(self, trial: "Trial") -> Settings:
        """Return the settings of a trial for a recipe file, with the warm-up steps that the trial actually used."""
        settings = self.settings(trial.point)
        return settings.with_values({"warmup_steps": trial.facts.get("warmup_steps", settings.warmup_steps)})


@dataclass(frozen=True)
class Trial:
    """One training of a search in its current state.

    Attributes:
        number: Number, counted from 0.
        state: State of the training. "pruned" means ended early, because its loss was above the median of the complete
            trials.
        point: Point in the search space; empty for a check.
        curve: (completed share of the training, lowest held-out loss so far in nats per character) per evaluation.
        loss: Lowest held-out loss of a complete trial, otherwise None.
        reason: Why the trial was pruned or failed.
        facts: steps, parameters, seconds and warmup_steps, as far as known.
        checks: For a check, the number of the trial that is trained again; None for a trial.
    """

    number: int
    state: State
    point: Point
    curve: tuple[tuple[float, float], ...] = ()
    loss: float | None = None
    reason: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    checks: int | None = None

    @property
    def is_judged(self) -> bool:
        """Whether its settings have been evaluated: it is complete or pruned."""
        return self.state in ("complete", "pruned")


def counts(trials: Sequence[Trial]) -> dict[str, int]:
    """Return the numbers of complete, pruned and failed trials."""
    return {state: sum(trial.state == state for trial in trials) for state in ("complete", "pruned", "failed")}


@dataclass(frozen=True)
class Outcome:
    """The result of a search so far.

    Attributes:
        plan: The complete trial of the plan, or None.
        best: The complete trial with the lowest loss, possibly the plan's, or None.
        plan_check: The check of the plan, which trains it again with another seed, or None.
        best_check: The check of the best trial, or None.
    """

    plan: Trial | None
    best: Trial | None
    plan_check: Trial | None = None
    best_check: Trial | None = None

    @property
    def is_checked(self) -> bool:
        """Whether both checks are done, or none is needed because the plan is the best trial."""
        both = self.plan_check is not None and self.best_check is not None
        return both or (self.best is not None and self.best == self.plan)

    @property
    def winner(self) -> Trial | None:
        """The trial to recommend: the plan's, unless the best trial was also better in its check."""
        if self.plan is None or self.best is None or not self.is_checked or self.best == self.plan:
            return self.best
        assert self.plan_check is not None and self.best_check is not None
        if self.best_check.loss is None:  # it diverged
            return self.plan
        return self.best if self.plan_check.loss is None or self.best_check.loss < self.plan_check.loss else self.plan


def outcome(trials: Sequence[Trial], checks: Sequence[Trial]) -> Outcome:
    """Return the outcome of trials and checks.

    Args:
        trials: Trials in any state. The first is the plan's; later ones may have the same point.
        checks: Checks in any state.
    """
    complete = [trial for trial in trials if trial.state == "complete" and trial.loss is not None]
    plan = next((trial for trial in complete if trial.point == trials[0].point), None)
    best = min(complete, key=lambda trial: (trial.loss, trial.number), default=None)

    def check(trial: Trial | None) -> Trial | None:
        ended = [other for other in checks if trial and other.checks == trial.number and other.is_judged]
        return ended[-1] if ended else None

    return Outcome(plan, best, check(plan), check(best))
