"""``charloom export --to html``: the options of an exported page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from charloom.errors import InputError
from charloom.model.file.model_file import SavedModel
from charloom.terminal.messages import Command, say, unescaped
from charloom.web.single_page import write_page

FORM = "html"

DEFAULT_SAMPLES = 3
"""Samples of each model in a page."""

_OPTIONS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("--title",), {"help": "html: the page's title.  [default: the models' names]"}),
    (
        ("--prompt", "prompts"),
        {"multiple": True, "help": "html: what texts begin with, \\n being a line feed; may be given again."},
    ),
    (("--samples",), {"type": int, "help": f"html: texts of each model in the page.  [default: {DEFAULT_SAMPLES}]"}),
)


@dataclass(frozen=True)
class PageOptions:
    """The command-line options of the page.

    Attributes:
        title: ``--title``, or None.
        prompts: ``--prompt``, in their order.
        samples: ``--samples``, or None.
    """

    title: str | None
    prompts: tuple[str, ...]
    samples: int | None

    def check(self, form: str, models: Sequence[str]) -> None:
        """Raise ``InputError`` if the form is not html, but several models or options of the page are given."""
        if form == FORM:
            return
        if len(models) > 1:
            raise InputError(
                f"{form} takes one model; got {len(models)}: {', '.join(models)}. Only html takes several."
            )
        values = {"--title": self.title, "--prompt": self.prompts or None, "--samples": self.samples}
        for option, value in values.items():
            if value is not None:
                raise InputError(f"{option} is of html alone; got --to {form}. Leave it out, or write html.")


def page_options(command: Command) -> Command:
    """Add the options of the page to a command; ``PageOptions`` holds their values."""
    for names, settings in reversed(_OPTIONS):
        command = click.option(*names, **settings)(command)
    return command


def write_models(target: Path, saved_models: Sequence[SavedModel], options: PageOptions, quiet: bool) -> list[Path]:
    """Write the page; print a note if weights are converted to int8."""
    if any(saved.stored_as != "int8" for saved in saved_models):
        say("note: the page holds the weights as int8, with which charloom generate computes anyway", quiet)
    return write_page(
        target,
        saved_models,
        title=options.title,
        prompts=[unescaped(prompt) for prompt in options.prompts],
        samples=DEFAULT_SAMPLES if options.samples is None else options.samples,
    )
