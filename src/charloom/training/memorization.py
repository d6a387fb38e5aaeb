"""How much a model that was just trained reproduces of its training text."""

from pathlib import Path

from charloom.data.corpus import Parts
from charloom.data.splits import Lines
from charloom.inference.memorization import copied_lines, novelty
from charloom.inference.model import Model
from charloom.model.file.model_file import load_model
from charloom.training.events import NoveltyRecord

_LENGTH = 5_000  # characters that are generated
_MAX_SEARCHED = 20_000_000  # characters of the training text that are searched: some seconds


def measure_memorization(model: Path, parts: Parts, seed: int) -> NoveltyRecord:
    """Generate text with a model and find the parts of it that occur in the training text.

    Args:
        model: The model file.
        parts: The text, split as for the training.
        seed: Seed of the generated text.
    """
    writer = Model(load_model(model))
    text = writer.generate(length=_LENGTH, seed=seed)
    training = parts.training.beginning(_MAX_SEARCHED)
    written = novelty(text, training.pieces())
    held_out = novelty(parts.validation.head(_LENGTH), training.pieces()) if len(parts.validation) else None
    lines = copied = None
    if isinstance(training, Lines):
        lines, copied = copied_lines(text[: text.rfind("\n") + 1], training.pieces())  # the last one is cut short
    return NoveltyRecord(
        characters=len(text),
        copied=written.copied,
        longest=written.longest,
        held_out_copied=held_out.copied if held_out else None,
        held_out_longest=held_out.longest if held_out else None,
        searched=len(training),
        lines=lines,
        copied_lines=copied,
    )
