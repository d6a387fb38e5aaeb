"""Judge a training in words: facts from its losses, and advice."""

import math
from collections.abc import Sequence

from charloom.data.baselines import Baselines
from charloom.training.early_stopping import OVERFITTING
from charloom.training.events import EvaluationRecord

_NOTHING_LEFT = 0.05  # nats: less than one character in twenty is in doubt
_UNDER_TRAINED = 0.1  # nats between held-out and training loss: a smaller gap leaves room to learn more

_ONLY_TRAINING = (
    "Nothing was held out, so this says how well the text was learned, not how well a new one is predicted: "
    "a model that copies would look perfect. --val-fraction 0.1 would tell."
)


def verdict(evaluations: Sequence[EvaluationRecord], baselines: Baselines) -> list[str]:
    """Return sentences for the user about a finished training.

    Args:
        evaluations: In their order; at least one after a step.
        baselines: What guessing costs on the same text.
    """
    trained = [e for e in evaluations if e.train_loss is not None]
    if not trained:
        return ["It was stopped before its first evaluation, so nothing is known yet about how good it is."]
    held_out = [e for e in trained if e.val_loss is not None]
    if not held_out:
        return [_against_guessing(_loss(trained[-1]), baselines, "training"), _ONLY_TRAINING]
    best = min(held_out, key=_loss)
    return [_against_guessing(_loss(best), baselines, "held-out"), *_trend(held_out, best, baselines)]


def _loss(evaluation: EvaluationRecord) -> float:
    loss = evaluation.train_loss if evaluation.val_loss is None else evaluation.val_loss
    assert loss is not None
    return loss


def _against_guessing(loss: float, guessing: Baselines, which: str) -> str:
    said = (
        f"The {which} loss is {loss:.4f} nats ({loss / math.log(2):.3f} bits) per character. Guessing evenly costs "
        f"{guessing.uniform:.4f}, guessing by how frequent each character is {guessing.unigram:.4f}"
    )
    if loss >= guessing.unigram:
        return f"{said}."
    return (
        f"{said}: the model hesitates between about {math.exp(loss):.1f} characters where guessing hesitates between "
        f"{math.exp(guessing.unigram):.1f}."
    )


def _trend(held_out: Sequence[EvaluationRecord], best: EvaluationRecord, guessing: Baselines) -> list[str]:
    last = held_out[-1]
    if _loss(last) >= guessing.unigram:
        return [
            "It has learned nothing that the frequencies do not tell: train longer, or try another learning rate "
            "(--set learning_rate=0.001)."
        ]
    assert last.train_loss is not None and best.train_loss is not None
    if _loss(last) > _loss(best) + OVERFITTING and last.train_loss > best.train_loss:
        return [
            f"It got worse from step {best.step} on, on the text it learned from as well: the learning rate is too "
            f"high. The model of step {best.step} was kept. Lower it (--set learning_rate=0.001)."
        ]
    if _loss(last) > _loss(best) + OVERFITTING:
        return [
            f"It over-fits from step {best.step} on: the held-out loss rose from {_loss(best):.4f} to "
            f"{_loss(last):.4f} while the training loss fell to {last.train_loss:.4f}. The model of step {best.step} "
            "was kept. More text, more dropout (--set dropout_output=0.3) or less time would help."
        ]
    if _loss(best) < _NOTHING_LEFT:
        return ["There is next to nothing left to learn: the text says the same again and again."]
    gap = _loss(last) - last.train_loss
    if gap < _UNDER_TRAINED:
        return [
            f"It is under-trained: new text costs it hardly more ({gap:+.3f} nats) than the text it learned from, "
            "so it can learn more from the same text. Give it more time (--minutes)."
        ]
    if best.step == last.step:
        end = "was still falling at the end. More time may gain a little."
    else:
        end = f"had stopped falling at step {best.step}. More time alone would gain little."
    return [
        f"It is well trained: new text costs it {gap:.2f} nats more than the text it learned from, and the held-out "
        f"loss {end}"
    ]
