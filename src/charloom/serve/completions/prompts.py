"""What texts go on from: prompts as they are asked for, and what each of their characters costs if that is wanted."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from charloom.serve.models import ServedModel
from charloom.serve.scheduler import TextScores
from charloom.serve.schema import CompletionRequest


@dataclass(frozen=True)
class Cost:
    """What one place of a text costs.

    Attributes:
        text: What stands there.
        log_prob: The natural logarithm of its probability; None for the first, which is not guessed.
        likeliest: The likeliest there and theirs, with what stands there among them; None for the first.
        starts: Whether a character begins there: not at a byte that goes on with one.
    """

    text: str
    log_prob: float | None
    likeliest: dict[str, float] | None
    starts: bool = True


@dataclass(frozen=True)
class Prompt:
    """What a text goes on from.

    Attributes:
        text: As it is shown.
        size: How many ids it has.
        read: What is read of it: its ids, or what stands for the beginning of a text.
        costs: Of each of its ids, where that is wanted.
    """

    text: str
    size: int
    read: NDArray[np.integer]
    costs: tuple[Cost, ...] = ()


async def make_prompts(served: ServedModel, asked: CompletionRequest) -> list[Prompt]:
    """Return what a request's texts go on from.

    Raises:
        ApiError: If one holds a character or an id that the model does not know.
    """
    vocabulary = served.model.vocabulary
    prompts = []
    for given in asked.prompt:
        if isinstance(given, str):
            text, read = given, served.ids(given, "prompt")
            size = len(read) if given else 0
        else:
            ids = served.check_ids(given, "prompt")
            text, size = vocabulary.decode(ids), len(ids)
            read = ids if size else served.ids("", "prompt")
        prompts.append(Prompt(text, size, read))
    if not asked.echo or asked.logprobs is None:
        return prompts
    return [await _with_costs(served, prompt, asked.logprobs) for prompt in prompts]


async def _with_costs(served: ServedModel, prompt: Prompt, guesses: int) -> Prompt:
    if not prompt.size:
        return prompt
    reading = await served.scheduler.read(prompt.read, guesses)
    names = served.model.vocabulary.names()
    starts = _starts(served.model.vocabulary.sizes(prompt.text), prompt.size)
    costs = [Cost(names[int(prompt.read[0])], None, None)]
    for place, id_ in enumerate(prompt.read[1:].tolist()):
        costs.append(replace(_cost(reading, names, place, id_), starts=starts[place + 1]))
    return Prompt(prompt.text, prompt.size, prompt.read, tuple(costs))


def _starts(sizes: NDArray[np.intp] | None, count: int) -> list[bool]:
    """Return whether a character begins at each of so many ids."""
    starts = np.full(count, sizes is None)
    if sizes is not None:
        starts[np.cumsum(sizes) - sizes] = True
    return starts.tolist()


def _cost(reading: TextScores, names: list[str], place: int, id_: int) -> Cost:
    """Return what the id after a place costs."""
    likeliest = {
        names[other]: log_prob
        for other, log_prob in zip(
            reading.likeliest_ids[place].tolist(), reading.likeliest_log_probs[place].tolist(), strict=True
        )
    }
    log_prob = likeliest.setdefault(names[id_], float(reading.log_probs[place]))
    return Cost(names[id_], log_prob, likeliest)
