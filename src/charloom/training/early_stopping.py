"""Early stopping and divergence guard: decisions from the evaluations so far."""

from charloom.training.history import History

OVERFITTING = 0.02  # nats above the best loss that count as over-fitting: evaluations differ by less
_RISING = 0.3  # nats above the lowest training loss that count as divergence: batches differ by less
_LEARNED = 0.005  # nats: about one character in two hundred is not predicted with certainty


def reason_to_end(history: History, patience: int) -> str | None:
    """Return why more steps would not help, or None; call it after an evaluation.

    Args:
        history: History of the training.
        patience: Evaluations without improvement before over-fitting ends the training; 0: never.
    """
    last, best = history.evaluation, history.best
    if last is None or best is None or last.val_loss is None or best.val_loss is None or not patience:
        return None
    if best.train_loss is None or last.train_loss is None:
        return None
    if last.val_loss < _LEARNED and last.train_loss < _LEARNED:
        return "There is nothing left to learn: the text says the same again and again. The training ends here."
    if history.waited < patience or last.val_loss < best.val_loss + OVERFITTING or last.train_loss > best.train_loss:
        return None
    return (
        f"It over-fits: the held-out loss has risen from {best.val_loss:.4f} at step {best.step:,} to "
        f"{last.val_loss:.4f}, while the training loss fell. The training ends here, and the model of step "
        f"{best.step:,} is kept. (--set patience=0 would let it go on.)"
    )


def reason_to_slow_down(history: History) -> str | None:
    """Return that the training loss has risen, as a sentence, or None; call it after an evaluation."""
    last, lowest = history.evaluation, history.lowest
    if last is None or last.train_loss is None or lowest is None or last.train_loss <= lowest + _RISING:
        return None
    return (
        f"At step {last.step:,} the training loss has risen to {last.train_loss:.4f}, from {lowest:.4f}: the learning "
        "rate is too high. Going on with half of it."
    )
