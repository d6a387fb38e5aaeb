"""How much a model that was just trained copies when it writes."""

from pathlib import Path

from charloom.model.model_file import load_model
from charloom.runtime.language_model import Model
from charloom.runtime.novelty import novelty
from charloom.text.corpus import Split
from charloom.training.records import NoveltyRecord

_LENGTH = 5_000  # characters


def copying(model: Path, split: Split, seed: int) -> NoveltyRecord:
    """Let a model write a little, and look for that in the text it was trained on.

    Args:
        model: Its file.
        split: The text.
        seed: Of what it writes.
    """
    text = Model(load_model(model)).generate(length=_LENGTH, seed=seed)
    written = novelty(text, split.training)
    held_out = novelty(split.validation[:_LENGTH], split.training) if split.validation else None
    return NoveltyRecord(
        characters=len(text),
        copied=written.copied,
        longest=written.longest,
        held_out_copied=held_out.copied if held_out else None,
        held_out_longest=held_out.longest if held_out else None,
    )
