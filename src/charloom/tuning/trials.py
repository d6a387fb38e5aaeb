"""What a search for better settings knows of its trainings, and what came of it. Nothing here needs torch or Optuna."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from charloom.planning.settings import Settings
from charloom.tuning.search_space import Axis, Place, settings_at

State = Literal["waiting", "running", "complete", "pruned", "failed"]


@dataclass(frozen=True)
class TuningTask:
    """What is searched, the same for everybody who works in one folder.

    Attributes:
        corpus: Its name.
        corpus_sha256: Its digest.
        format: How it is read, as ``TextFormat.to_dict`` has it.
        recipe: The recipe that the plan is of.
        plan: Where the search starts; each training takes its minutes.
        fixed: Settings that the user chose, which stay.
        axes: What is varied.
        shortens_warmup: Whether a training that is short may have a shorter warm-up.
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
    def from_dict(cls, found: dict[str, Any]) -> "TuningTask":
        """Return a task from what ``to_dict`` returned.

        Raises:
            TypeError, KeyError, ValueError: If it is something else.
        """
        axes = [
            {**axis, "settings": tuple(axis["settings"]), "values": tuple(axis["values"])} for axis in found["axes"]
        ]
        return cls(**{**found, "plan": Settings(**found["plan"]), "axes": tuple(Axis(**axis) for axis in axes)})

    def settings(self, place: Place) -> Settings:
        """Return the settings of a trial."""
        return settings_at(self.plan, self.axes, place)

    def result(self, trial: "Trial") -> Settings:
        """Return the settings of a trial as a recipe has them: with the warm-up that it had."""
        settings = self.settings(trial.place)
        return settings.with_values({"warmup_steps": trial.facts.get("warmup_steps", settings.warmup_steps)})


@dataclass(frozen=True)
class Trial:
    """One training of a search, as far as it is.

    Attributes:
        number: From 0 on.
        state: "pruned": given up, because others were better at the same share of their training.
        place: Where it stands on each axis; empty of a check.
        curve: Share of the training done, and the held-out loss then, in nats per character.
        loss: The lowest held-out loss of a complete one.
        reason: Why it was pruned or failed.
        facts: What it told: steps, parameters, seconds, warmup_steps.
        checks: Of a check, the number of the trial that is trained once more; None of a trial.
    """

    number: int
    state: State
    place: Place
    curve: tuple[tuple[float, float], ...] = ()
    loss: float | None = None
    reason: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    checks: int | None = None

    @property
    def is_judged(self) -> bool:
        """Whether its settings were tried: it is complete, or was given up because of its loss."""
        return self.state in ("complete", "pruned")


def counts(trials: Sequence[Trial]) -> dict[str, int]:
    """Return how many trials are complete, pruned and failed."""
    return {state: sum(trial.state == state for trial in trials) for state in ("complete", "pruned", "failed")}


@dataclass(frozen=True)
class Outcome:
    """What a search has found until now.

    Attributes:
        plan: The complete training of the plan; None where it has not ended.
        best: The complete trial with the lowest loss; maybe the plan's.
        plan_check: The plan, trained once more with another seed.
        best_check: The best, likewise.
    """

    plan: Trial | None
    best: Trial | None
    plan_check: Trial | None = None
    best_check: Trial | None = None

    @property
    def is_checked(self) -> bool:
        """Whether both have been trained once more, or there is nothing to compare."""
        both = self.plan_check is not None and self.best_check is not None
        return both or (self.best is not None and self.best == self.plan)

    @property
    def winner(self) -> Trial | None:
        """The trial whose settings are worth using: the plan's, unless another was better when it was checked."""
        if self.plan is None or self.best is None or not self.is_checked or self.best == self.plan:
            return self.best
        assert self.plan_check is not None and self.best_check is not None
        if self.best_check.loss is None:  # it diverged
            return self.plan
        return self.best if self.plan_check.loss is None or self.best_check.loss < self.plan_check.loss else self.plan


def outcome(trials: Sequence[Trial], checks: Sequence[Trial]) -> Outcome:
    """Return what trials and checks say.

    Args:
        trials: In any state; the first is the plan's, others with the same place may be.
        checks: Likewise.
    """
    complete = [trial for trial in trials if trial.state == "complete" and trial.loss is not None]
    plan = next((trial for trial in complete if trial.place == trials[0].place), None)
    best = min(complete, key=lambda trial: (trial.loss, trial.number), default=None)

    def check(trial: Trial | None) -> Trial | None:
        ended = [one for one in checks if trial and one.checks == trial.number and one.is_judged]
        return ended[-1] if ended else None

    return Outcome(plan, best, check(plan), check(best))
