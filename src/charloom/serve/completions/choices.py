"""The ``choices`` of a completion response."""

from collections.abc import Sequence
from typing import Any

from charloom.inference.batching import SequenceOutput, Token
from charloom.serve.completions.prompts import Prompt, TokenLogprob


class Choices:
    """Formats the output of the generated texts as ``choices``.

    Keeps track of the length of each text, which ``text_offset`` requires.

    Args:
        prompts: The prompts.
        count: Number of texts per prompt.
        echo: Whether each text starts with its prompt.
        with_logprobs: Whether choices contain log-probabilities.
    """

    def __init__(self, prompts: Sequence[Prompt], count: int, echo: bool, with_logprobs: bool) -> None:
        self._prompts, self._count, self._echo, self._with_logprobs = prompts, count, echo, with_logprobs
        self._lengths = [0] * (len(prompts) * count)

    def initial(self, index: int) -> dict[str, Any]:
        """Return the choice of a text before generation: its prompt with ``echo``, else an empty text."""
        prompt = self._prompts[index // self._count]
        return (
            self._choice(index, prompt.text, prompt.logprobs, None) if self._echo else self._choice(index, "", (), None)
        )

    def format(self, part: SequenceOutput) -> dict[str, Any]:
        """Return the choice for new output of a text."""
        logprobs = [_token_logprob(token) for token in part.tokens or ()]
        return self._choice(part.key, part.text, logprobs, part.finish_reason)

    def _choice(
        self, index: int, text: str, logprobs: Sequence[TokenLogprob], finish_reason: str | None
    ) -> dict[str, Any]:
        formatted = _format_logprobs(logprobs, self._lengths[index]) if self._with_logprobs else None
        self._lengths[index] += len(text)
        return {"text": text, "index": index, "logprobs": formatted, "finish_reason": finish_reason}

    def join(self, parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Join consecutive choices of one text."""
        logprobs = None
        if self._with_logprobs:
            keys = parts[0]["logprobs"]
            logprobs = {key: [value for part in parts for value in part["logprobs"][key]] for key in keys}
        text = "".join(part["text"] for part in parts)
        return {**parts[-1], "text": text, "logprobs": logprobs}


def _token_logprob(token: Token) -> TokenLogprob:
    top = dict(token.top_logprobs)
    return TokenLogprob(token.text, top.setdefault(token.text, token.log_prob), top)


def _format_logprobs(logprobs: Sequence[TokenLogprob], start: int) -> dict[str, Any]:
    """Format log-probabilities as the OpenAI API does.

    Args:
        logprobs: The log-probabilities of consecutive ids of a text.
        start: Offset of the first one in the text of the choice, in characters.
    """
    offsets, offset = [], start - 1
    for logprob in logprobs:
        offset += logprob.starts
        offsets.append(offset)
    return {
        "tokens": [logprob.text for logprob in logprobs],
        "token_logprobs": [logprob.log_prob for logprob in logprobs],
        "top_logprobs": [logprob.top for logprob in logprobs],
        "text_offset": offsets,
    }
