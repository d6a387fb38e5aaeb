"""Where a model comes from: what its file says of its text, its recipe and how far its training was."""

from typing import Any

from charloom._version import __version__
from charloom.planning.schedule import Plan
from charloom.training.history import History
from charloom.training.stages import Preparation


def model_facts(ready: Preparation, plan: Plan, step: int, history: History) -> dict[str, Any]:
    """Return where a model comes from; nothing in it depends on the clock or names a path.

    Args:
        ready: What was trained.
        plan: How.
        step: Updates so far.
        history: What was found out on the way.
    """
    at = history.evaluation if history.evaluation and history.evaluation.step == step else None
    return {
        "corpus": ready.corpus.name,
        "corpus_sha256": ready.corpus.sha256,
        "corpus_characters": len(ready.corpus),
        "recipe": ready.recipe.name,
        "settings": plan.settings.to_dict(),
        "step": step,
        "epoch": step / plan.steps_per_epoch,
        "train_loss": at.train_loss if at else None,
        "val_loss": at.val_loss if at else None,
        "best_val_loss": history.best.val_loss if history.best else None,
        "charloom_version": __version__,
    }
