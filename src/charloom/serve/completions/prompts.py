"""Encode the prompts of a completion request, and compute their log-probabilities for ``echo``."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from charloom.data.vocabulary.unknown import replace_unknown
from charloom.serve.models import ServedModel
from charloom.serve.scheduler import TextScores
from charloom.serve.schema import CompletionRequest

_ADVICE = 'To generate anyway, set unknown to "skip" or "replace". '


@dataclass(frozen=True)
class TokenLogprob:
    """The log-probability of one id (a character or byte) of a text.

    Attributes:
        text: The character, or the name of the byte.
        log_prob: Natural logarithm of its probability; None for the first id of a text.
        top: Log-probabilities of the most likely ids and of this one, keyed by text; None for the first id of a text.
        starts: Whether a character starts at this id; False for UTF-8 continuation bytes.
    """

    text: str
    log_prob: float | None
    top: dict[str, float] | None
    starts: bool = True


@dataclass(frozen=True)
class Prompt:
    """A prompt of a completion request.

    Attributes:
        text: The prompt as text.
        size: Number of ids.
        ids: The ids of the text, (size,).
        logprobs: Log-probabilities of the prompt's ids, if requested.
    """

    text: str
    size: int
    ids: NDArray[np.integer]
    logprobs: tuple[TokenLogprob, ...] = ()


async def make_prompts(served: ServedModel, request: CompletionRequest) -> list[Prompt]:
    """Encode the prompts of a request.

    Raises:
        ApiError: If a prompt contains an unknown character or id.
    """
    vocabulary = served.model.vocabulary
    prompts = []
    for index, value in enumerate(request.prompt):
        param = f"prompt[{index}]" if len(request.prompt) > 1 else "prompt"
        if isinstance(value, str):
            text = served.prepare(value, param)
            if request.unknown != "error":
                text = replace_unknown(vocabulary, text, request.unknown)  # so that echoed log-probabilities align
            ids = served.ids(text, param, _ADVICE)
        else:
            ids = served.check_ids(value, param)
            text = vocabulary.decode(ids)
        prompts.append(Prompt(text, len(ids), ids))
    if not request.echo or request.logprobs is None:
        return prompts
    label = served.label(request.label, 0)
    return [await _with_logprobs(served, prompt, request.logprobs, label) for prompt in prompts]


async def _with_logprobs(served: ServedModel, prompt: Prompt, top_k: int, label: str | None) -> Prompt:
    """Return a prompt with its log-probabilities, including those of the ``top_k`` most likely ids at each position."""
    if not prompt.size:
        return prompt
    hidden = served.start_ids(label, is_empty=False)
    scores = await served.scheduler.score(np.concatenate([hidden, prompt.ids]), top_k)
    names = served.names()
    starts = _starts(served.model.vocabulary.sizes(prompt.text), prompt.size)
    logprobs = [] if len(hidden) else [TokenLogprob(names[int(prompt.ids[0])], None, None)]
    for i in range(len(logprobs), prompt.size):
        position = len(hidden) + i - 1
        logprobs.append(replace(_token_logprob(scores, names, position, int(prompt.ids[i])), starts=starts[i]))
    return Prompt(prompt.text, prompt.size, prompt.ids, tuple(logprobs))


def _starts(sizes: NDArray[np.intp] | None, count: int) -> list[bool]:
    """Return for each id whether a character starts at it.

    Args:
        sizes: Number of ids of each character; None if each character is one id.
        count: Number of ids.
    """
    starts = np.full(count, sizes is None)
    if sizes is not None:
        starts[np.cumsum(sizes) - sizes] = True
    return starts.tolist()


def _token_logprob(scores: TextScores, names: list[str], position: int, id_: int) -> TokenLogprob:
    """Return the log-probability of an id, given the text up to and including a position."""
    top = {
        names[top_id]: log_prob
        for top_id, log_prob in zip(
            scores.top_ids[position].tolist(), scores.top_log_probs[position].tolist(), strict=True
        )
    }
    log_prob = top.setdefault(names[id_], float(scores.log_probs[position]))
    return TokenLogprob(names[id_], log_prob, top)
