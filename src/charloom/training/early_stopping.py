"""Early stopping and divergence guard, decided from the evaluations so far."""

from charloom.errors import Notice
from charloom.training.history import History

OVERFITTING = 0.02  # nats above the best held-out loss; the noise of evaluations is smaller
_RISING = 0.3  # nats above the lowest training loss; the noise between evaluations is smaller
_LEARNED = 0.005  # nats per character; below it the text is practically memorized


def reason_to_end(history: History, patience: int) -> Notice | None:
    """Return the reason to end a training run early, or None. Call it after an evaluation.

    Args:
        history: History of the training.
        patience: Evaluations without improvement before an overfitting training ends; 0 turns early stopping off.
    """
    last, best = history.evaluation, history.recent_best
    if last is None or best is None or last.val_loss is None or best.val_loss is None or not patience:
        return None
    if best.train_loss is None or last.train_loss is None:
        return None
    if last.val_loss < _LEARNED and last.train_loss < _LEARNED:
        return Notice(
            "Early stopping: the losses are almost 0, as on a text that repeats itself. More steps would not help.",
            code="nothing_left_to_learn",
            step=last.step,
            train_loss=last.train_loss,
            val_loss=last.val_loss,
        )
    if history.waited < patience or last.val_loss < best.val_loss + OVERFITTING or last.train_loss > best.train_loss:
        return None
    return Notice(
        f"Early stopping: the held-out loss rose from {best.val_loss:.4f} at step {best.step:,} to {last.val_loss:.4f} "
        "while the training loss fell, so the model is overfitting.",
        code="overfitting",
        step=last.step,
        val_loss=last.val_loss,
        best_step=best.step,
        best_val_loss=best.val_loss,
    )


def reason_to_slow_down(history: History) -> Notice | None:
    """Return the reason to halve the learning rate, or None. Call it after an evaluation."""
    last, lowest = history.evaluation, history.lowest
    if last is None or last.train_loss is None or lowest is None or last.train_loss <= lowest + _RISING:
        return None
    return Notice(
        f"The training loss rose from {lowest:.4f} to {last.train_loss:.4f} at step {last.step:,}: the learning rate "
        "is too high. Continuing with half of it.",
        code="learning_rate_halved",
        step=last.step,
        lowest_train_loss=lowest,
        train_loss=last.train_loss,
    )
