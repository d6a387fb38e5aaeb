"""Models of charloom for llm: ``llm -m charloom/shakespeare "ROMEO:"`` writes in this process, without a server."""

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
"""The environment variable that lists run folders and model files, as PATH lists folders."""

BUNDLED = ("shakespeare",)
"""The models that come with charloom; its own list would load NumPy at every start of llm, and a test compares them."""

_SUFFIX = ".safetensors"


@llm.hookimpl
def register_models(register: Callable[..., None]) -> None:
    """Tell llm which models there are; none is opened before it is used."""
    for name, source in named(os.environ.get(MODELS, "")).items():
        register(Charloom(name, source))


def named(listed: str) -> dict[str, str]:
    """Return what each name means: the bundled models, then those listed.

    Args:
        listed: Run folders and model files, between them what is between the folders of PATH.
    """
    found = {name: name for name in BUNDLED}
    for source in filter(None, listed.split(os.pathsep)):
        found[unused_name(Path(source).name.removesuffix(_SUFFIX), found.__contains__)] = source
    return found


class Charloom(llm.Model):
    """One model of charloom.

    Args:
        name: What it is called behind ``charloom/``.
        source: A bundled model's name, a run folder or a model file.
    """

    can_stream = True

    class Options(llm.Options):
        """What can be asked of it; ranges are charloom's own."""

        length: int = Field(description="Characters to write after the prompt", default=DEFAULT_LENGTH)
        temperature: float = Field(
            description="Below 1 is safer, above 1 wilder; 0 takes the likeliest character each time",
            default=DEFAULT_TEMPERATURE,
        )
        top_p: float = Field(
            description="Draw from the likeliest characters that have this share of the probability", default=1.0
        )
        stop: str | None = Field(description="End before this string", default=None)
        seed: int | None = Field(description="The same seed gives the same text", default=None)

    def __init__(self, name: str, source: str) -> None:
        self.model_id = f"charloom/{name}"
        self.source = source

    @cached_property
    def model(self) -> charloom.Model:
        """The model, opened when it is first asked to write."""
        return charloom.load(self.source)

    def execute(
        self, prompt: llm.Prompt, stream: bool, response: llm.Response, conversation: llm.Conversation | None
    ) -> Iterator[str]:
        """Yield what follows the prompt, piece by piece."""
        if prompt.system:
            raise llm.ModelError(
                f"{self.model_id} knows no instructions, so it takes no system prompt. "
                "Put what the text is to begin with into the prompt."
            )
        try:
            yield from self._write(prompt, response, conversation)
        except charloom.CharloomError as error:
            raise llm.ModelError(str(error)) from None

    def _write(
        self, prompt: llm.Prompt, response: llm.Response, conversation: llm.Conversation | None
    ) -> Iterator[str]:
        from charloom.inference.generation import make_request

        text, asked = self._text_so_far(conversation) + prompt.prompt, prompt.options
        assert isinstance(asked, Charloom.Options)
        stop = () if asked.stop is None else (asked.stop,)
        request, precision = make_request(
            text, asked.length, asked.temperature, asked.seed, {"top_p": asked.top_p, "stop": stop}
        )
        pieces = self.model.pieces(request, precision)
        written, reason = 0, next(pieces).finish_reason  # the first piece is the prompt
        for piece in pieces:
            written, reason = written + len(piece.text), piece.finish_reason
            yield piece.text
        response.response_json = {"seed": request.seed, "finish_reason": reason}
        response.set_usage(input=len(text), output=written)

    def _text_so_far(self, conversation: llm.Conversation | None) -> str:
        """Return what a conversation has written, ready for the next prompt: that begins a line of its own."""
        text = ""
        for answered in conversation.responses if conversation else ():
            assert isinstance(answered, llm.Response)
            text += answered.prompt.prompt + answered.text()
        ends_a_line = not text or text.endswith("\n") or "\n" not in self.model.vocabulary
        return text if ends_a_line else f"{text}\n"
