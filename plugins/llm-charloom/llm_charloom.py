"""charloom models for llm: ``llm -m charloom/shakespeare "ROMEO:"`` generates in this process, without a server."""

import os
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import llm
from pydantic import Field

import charloom
from charloom._util.unused_names import unused_name
from charloom.inference.generation_options import DEFAULT_LENGTH, DEFAULT_TEMPERATURE

MODELS = "CHARLOOM_MODELS"
"""Environment variable with additional run folders and model files, separated like the folders in PATH."""

BUNDLED = ("shakespeare",)
"""The bundled models. Asking charloom would load NumPy at every start of llm, so a test compares this list instead."""

_SUFFIX = ".safetensors"


@llm.hookimpl
def register_models(register: Callable[..., None]) -> None:
    """Register all models with llm. A model is opened when it is first used."""
    for name, source in find_sources(os.environ.get(MODELS, "")).items():
        register(Charloom(name, source))


def find_sources(paths: str) -> dict[str, str]:
    """Map model names to their sources: the bundled models, then the given ones.

    Args:
        paths: Run folders and model files, separated by ``os.pathsep``.
    """
    sources = {name: name for name in BUNDLED}
    for source in filter(None, paths.split(os.pathsep)):
        sources[unused_name(Path(source).name.removesuffix(_SUFFIX), sources.__contains__)] = source
    return sources


class Charloom(llm.Model):
    """A charloom model for llm.

    Args:
        name: The part of the model id after ``charloom/``.
        source: A bundled model's name, a run folder or a model file.
    """

    can_stream = True

    class Options(llm.Options):
        """Options of a prompt. charloom checks their ranges."""

        length: int = Field(description="Number of characters to generate after the prompt", default=DEFAULT_LENGTH)
        temperature: float = Field(
            description="Randomness: below 1 more predictable, above 1 more random, 0 always the most likely character",
            default=DEFAULT_TEMPERATURE,
        )
        top_p: float = Field(
            description="Sample from the most likely characters whose probabilities add up to this share", default=1.0
        )
        stop: str | None = Field(description="Stop sequence: generation ends before this string", default=None)
        seed: int | None = Field(description="Random seed: the same seed gives the same text", default=None)

    def __init__(self, name: str, source: str) -> None:
        self.model_id = f"charloom/{name}"
        self.source = source

    @cached_property
    def model(self) -> charloom.Model:
        """The model, which is opened on first use."""
        return charloom.load(self.source)

    def execute(
        self, prompt: llm.Prompt, stream: bool, response: llm.Response, conversation: llm.Conversation | None
    ) -> Iterator[str]:
        """Yield the generated text piece by piece."""
        if prompt.system:
            raise llm.ModelError(
                f"{self.model_id} does not support system prompts, because it does not follow instructions. Pass the "
                "beginning of the text as the prompt."
            )
        try:
            yield from self._write(prompt, response, conversation)
        except charloom.CharloomError as error:
            raise llm.ModelError(str(error)) from None

    def _write(
        self, prompt: llm.Prompt, response: llm.Response, conversation: llm.Conversation | None
    ) -> Iterator[str]:
        from charloom.inference.generation import make_request

        text, options = self._text_so_far(conversation) + prompt.prompt, prompt.options
        assert isinstance(options, Charloom.Options)
        stop = () if options.stop is None else (options.stop,)
        request, precision = make_request(
            text, options.length, options.temperature, options.seed, {"top_p": options.top_p, "stop": stop}
        )
        pieces = self.model.pieces(request, precision)
        length, reason = 0, next(pieces).finish_reason  # the first piece is the prompt
        for piece in pieces:
            length, reason = length + len(piece.text), piece.finish_reason
            yield piece.text
        response.response_json = {"seed": request.seed, "finish_reason": reason}
        response.set_usage(input=len(text), output=length)

    def _text_so_far(self, conversation: llm.Conversation | None) -> str:
        """Return the text of a conversation, ended with a line feed so that the next prompt starts a new line."""
        text = ""
        for response in conversation.responses if conversation else ():
            assert isinstance(response, llm.Response)
            text += response.prompt.prompt + response.text()
        ends_a_line = not text or text.endswith("\n") or "\n" not in self.model.vocabulary
        return text if ends_a_line else f"{text}\n"
