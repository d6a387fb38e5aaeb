"""The assessment that ends a training run: losses against baselines, and advice."""

import math
from collections.abc import Sequence

from charloom.data.baselines import Baselines
from charloom.errors import Notice
from charloom.training.early_stopping import OVERFITTING
from charloom.training.events import EvaluationRecord

_SOLVED = 0.05  # nats/char: exp(-0.05) = 0.95, so the model is right about 19 of 20 characters
_UNDER_TRAINED = 0.1  # nats/char between held-out and training loss: a smaller gap leaves room to learn more


def verdict(evaluations: Sequence[EvaluationRecord], baselines: Baselines) -> list[Notice]:
    """Assess a finished training: compare its loss with baselines, then name the problem or what to do next.

    Args:
        evaluations: All evaluations in order.
        baselines: Uniform and unigram loss on the same text.
    """
    trained = [e for e in evaluations if e.train_loss is not None]
    if not trained:
        return [Notice("Training stopped before its first evaluation: no loss was measured.", code="no_evaluation")]
    held_out = [e for e in trained if e.val_loss is not None]
    if not held_out:
        advice = Notice(
            "No text was held out, so only the training loss is known: it does not show how well the model predicts "
            "new text. Pass --val-fraction 0.1 to measure that.",
            code="no_held_out_text",
        )
        return [_compare(_loss(trained[-1]), baselines, "training"), advice]
    best = min(held_out, key=_loss)
    return [_compare(_loss(best), baselines, "held-out"), _diagnose(held_out, best, baselines)]


def _loss(evaluation: EvaluationRecord) -> float:
    """Return the held-out loss if it was measured, else the training loss, in nats per character."""
    loss = evaluation.train_loss if evaluation.val_loss is None else evaluation.val_loss
    assert loss is not None
    return loss


def _compare(loss: float, baselines: Baselines, kind: str) -> Notice:
    """Compare a loss in nats per character with the baselines; ``kind`` is "training" or "held-out"."""
    message = (
        f"The {kind} loss is {loss:.4f} nats ({loss / math.log(2):.3f} bits) per character (unigram baseline: "
        f"{baselines.unigram:.4f} nats, uniform baseline: {baselines.uniform:.4f} nats)."
    )
    if loss < baselines.unigram:
        message += (
            f" The model is as uncertain as a choice among {math.exp(loss):.1f} equally likely characters; the unigram "
            f"baseline, among {math.exp(baselines.unigram):.1f}."
        )
    return Notice(
        message, code="loss_summary", kind=kind, loss=loss, unigram=baselines.unigram, uniform=baselines.uniform
    )


def _diagnose(held_out: Sequence[EvaluationRecord], best: EvaluationRecord, baselines: Baselines) -> Notice:
    """Choose the advice that fits the course of the losses; ``best`` has the lowest held-out loss."""
    last = held_out[-1]
    if _loss(last) >= baselines.unigram:
        return Notice(
            "The model learned nothing beyond character frequencies: its held-out loss is not below the unigram "
            "baseline. Train longer, or try another learning rate (--set learning_rate=0.001).",
            code="learned_nothing",
        )
    assert last.train_loss is not None and best.train_loss is not None
    if _loss(last) > _loss(best) + OVERFITTING and last.train_loss > best.train_loss:
        return Notice(
            f"Training loss and held-out loss rose after step {best.step}: the learning rate is too high. The model "
            f"of step {best.step} was kept. Lower the learning rate (--set learning_rate=0.001).",
            code="learning_rate_too_high",
            step=best.step,
        )
    if _loss(last) > _loss(best) + OVERFITTING:
        return Notice(
            f"The model overfits after step {best.step}: the held-out loss rose from {_loss(best):.4f} to "
            f"{_loss(last):.4f} while the training loss fell to {last.train_loss:.4f}. The model of step {best.step} "
            "was kept. Use more text, more dropout (--set dropout_output=0.3) or a shorter training.",
            code="overfitting",
            step=best.step,
            best_loss=_loss(best),
            last_loss=_loss(last),
        )
    if _loss(best) < _SOLVED:
        return Notice(
            "The loss is close to 0, so there is little left to learn: the text is very repetitive.",
            code="nothing_left_to_learn",
        )
    gap = _loss(last) - last.train_loss
    if gap < _UNDER_TRAINED:
        return Notice(
            f"The model is under-trained: the gap between held-out loss and training loss is small ({gap:+.3f} nats), "
            "so the same text can teach it more. Train longer (--minutes).",
            code="under_trained",
            gap=gap,
        )
    if best.step == last.step:
        trend = "was still falling at the end. Training longer may help a little."
    else:
        trend = f"stopped falling at step {best.step}. Training longer is unlikely to help much."
    return Notice(
        f"The model is well trained: the held-out loss is {gap:.2f} nats above the training loss and {trend}",
        code="well_trained",
        gap=gap,
        still_falling=best.step == last.step,
    )
