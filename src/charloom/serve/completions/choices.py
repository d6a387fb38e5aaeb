"""The choices of an answer, as OpenAI writes them."""

from collections.abc import Sequence
from typing import Any

from charloom.inference.batching import SequenceOutput, Token
from charloom.serve.completions.prompts import Cost, Prompt


class Choices:
    """Writes the parts of texts as choices, and knows how far each text has come.

    Args:
        prompts: What they go on from.
        count: How many of each.
        echo: Whether each begins with its prompt.
        with_costs: Whether they tell what their characters cost.
    """

    def __init__(self, prompts: Sequence[Prompt], count: int, echo: bool, with_costs: bool) -> None:
        self._prompts, self._count, self._echo, self._with_costs = prompts, count, echo, with_costs
        self._lengths = [0] * (len(prompts) * count)

    def beginning(self, index: int) -> dict[str, Any]:
        """Return what stands before anything is written."""
        prompt = self._prompts[index // self._count]
        return self._choice(index, prompt.text, prompt.costs, None) if self._echo else self._choice(index, "", (), None)

    def take(self, part: SequenceOutput) -> dict[str, Any]:
        """Return what was written of a text."""
        costs = [_cost(token) for token in part.tokens or ()]
        return self._choice(part.key, part.text, costs, part.finish_reason)

    def _choice(self, index: int, text: str, costs: Sequence[Cost], finish_reason: str | None) -> dict[str, Any]:
        log_probs = None
        if self._with_costs:
            log_probs = _log_probs(costs, self._lengths[index])
        self._lengths[index] += len(text)
        return {"text": text, "index": index, "logprobs": log_probs, "finish_reason": finish_reason}

    def joined(self, parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the parts of one text as one."""
        log_probs = None
        if self._with_costs:
            keys = parts[0]["logprobs"]
            log_probs = {key: [one for part in parts for one in part["logprobs"][key]] for key in keys}
        text = "".join(part["text"] for part in parts)
        return {**parts[-1], "text": text, "logprobs": log_probs}


def _cost(token: Token) -> Cost:
    likeliest = dict(token.top_logprobs)
    return Cost(token.text, likeliest.setdefault(token.text, token.log_prob), likeliest)


def _log_probs(costs: Sequence[Cost], start: int) -> dict[str, Any]:
    """Return costs as OpenAI writes them; places are those in the choice's text, from ``start`` on."""
    offsets, place = [], start - 1
    for cost in costs:
        place += cost.starts
        offsets.append(place)
    return {
        "tokens": [cost.text for cost in costs],
        "token_logprobs": [cost.log_prob for cost in costs],
        "top_logprobs": [cost.likeliest for cost in costs],
        "text_offset": offsets,
    }
