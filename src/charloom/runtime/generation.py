"""Weights to text: read the prompt, then draw character after character, piece by piece."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charloom.runtime.engine import Cursor, Engine, State
from charloom.runtime.options import DEFAULT_LENGTH, Sampling, check_length, check_samples
from charloom.runtime.sampling import sample_seeds
from charloom.text.vocabulary import Vocabulary

_PIECE = 16  # characters drawn between two pieces: short enough to look like writing
_BLOCK = 256  # characters of a prompt read at once: bounds the memory that a long one takes


@dataclass(frozen=True)
class Piece:
    """A part of a generated text, to be put behind the parts before it.

    Attributes:
        sample: Which of the samples it belongs to, from 0.
        text: The characters; the first piece of each sample is the prompt.
        finish_reason: None until the last piece of a sample; then "length".
    """

    sample: int
    text: str
    finish_reason: str | None = None


def random_seed() -> int:
    """Return a seed nobody chose, short enough to be typed again."""
    return secrets.randbelow(1 << 32)


def generate(
    engine: Engine,
    vocabulary: Vocabulary,
    prompt: str = "",
    length: int = DEFAULT_LENGTH,
    sampling: Sampling | None = None,
    seed: int = 0,
    samples: int = 1,
) -> Iterator[Piece]:
    """Yield the pieces of generated texts; memory does not grow with the length.

    Args:
        engine: Runs the model.
        vocabulary: The model's.
        prompt: What the text begins with. Without one the model is started as after the end of a line.
        length: How many characters to draw after the prompt, 0 or more.
        sampling: How to draw them.
        seed: The same seed gives the same text.
        samples: How many texts, each with a seed of its own (see ``sample_seeds``).

    Raises:
        UnknownCharacterError: If the prompt holds a character that the model does not know.
        SettingsError: If a number is out of range.
    """
    check_length(length)
    seeds = np.array(sample_seeds(seed, check_samples(samples)), np.uint64)
    ids = vocabulary.encode(prompt or opening(vocabulary))
    return _pieces(engine, vocabulary, prompt, ids, length, sampling or Sampling(), seeds)


def opening(vocabulary: Vocabulary) -> str:
    """Return the character that a text without a prompt is started with, which is not part of the text.

    A new line, if the model knows one; else a space; else its first character.
    """
    return next((c for c in "\n " if c in vocabulary), vocabulary.characters[0])


def read_text(
    engine: Engine, ids: NDArray[np.integer], state: State | None = None
) -> tuple[NDArray[np.float32], State]:
    """Read one text block by block.

    Args:
        engine: Runs the model.
        ids: (T,), T >= 1.
        state: Before the text, (L, S, 1, H); zeros if None.

    Returns:
        Logits (1, V) of the character after the text, and the state there.
    """
    state = engine.initial_state(1) if state is None else state
    for start in range(0, len(ids), _BLOCK):
        logits, state = engine.forward(ids[None, start : start + _BLOCK], state)
    return logits[:, -1], state


def _pieces(
    engine: Engine,
    vocabulary: Vocabulary,
    prompt: str,
    ids: NDArray[np.integer],
    length: int,
    sampling: Sampling,
    seeds: NDArray[np.uint64],
) -> Iterator[Piece]:
    every = range(len(seeds))
    yield from (Piece(sample, prompt, None if length else "length") for sample in every)
    if length == 0:
        return
    logits, state = read_text(engine, ids)
    cursor = Cursor(np.repeat(state, len(seeds), axis=2), np.repeat(logits, len(seeds), axis=0), seeds)
    while cursor.position < length:
        drawn = engine.sample(cursor, min(_PIECE, length - cursor.position), sampling)
        reason = "length" if cursor.position == length else None
        yield from (Piece(sample, vocabulary.decode(drawn[sample]), reason) for sample in every)
