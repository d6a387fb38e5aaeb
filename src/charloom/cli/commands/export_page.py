"""``charloom export --to html``: the options of an exported page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charloom.errors import InputError
from charloom.terminal.messages import Command, say, unescaped

if TYPE_CHECKING:
    from charloom.model.file.model_file import SavedModel

FORM = "html"

SAMPLES = 3
"""Texts of each model that a page has when nothing is said of them."""

_OPTIONS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("--title",), {"help": "html: the page's title.  [default: the models' names]"}),
    (
        ("--prompt", "prompts"),
        {"multiple": True, "help": "html: what texts begin with, \\n being a line feed; may be given again."},
    ),
    (("--samples",), {"type": int, "help": f"html: texts of each model in the page.  [default: {SAMPLES}]"}),
)


@dataclass(frozen=True)
class PageOptions:
    """What was said of the page.

    Attributes:
        title: None if nothing was.
        prompts: In their order.
        samples: None if nothing was said.
    """

    title: str | None
    prompts: tuple[str, ...]
    samples: int | None

    def check(self, form: str, models: Sequence[str]) -> None:
        """Raise ``InputError`` if a form other than a page was asked for, with more than that takes."""
        if form == FORM:
            return
        if len(models) > 1:
            raise InputError(
                f"{form} takes one model; got {len(models)}: {', '.join(models)}. Only html takes several."
            )
        given = {"--title": self.title, "--prompt": self.prompts or None, "--samples": self.samples}
        for option, value in given.items():
            if value is not None:
                raise InputError(f"{option} is of html alone; got --to {form}. Leave it out, or write html.")


def page_options(command: Command) -> Command:
    """Add the options of a page; ``PageOptions`` takes their values."""
    for name, said in reversed(_OPTIONS):
        command = click.option(*name, **said)(command)
    return command


def write_models(target: Path, saved_models: Sequence[SavedModel], options: PageOptions, quiet: bool) -> list[Path]:
    """Write the page, and say what becomes of weights that are not int8."""
    from charloom.web.single_page import write_page

    if any(saved.stored_as != "int8" for saved in saved_models):
        say("note: the page holds the weights as int8, with which charloom generate computes anyway", quiet)
    return write_page(
        target,
        saved_models,
        title=options.title,
        prompts=[unescaped(prompt) for prompt in options.prompts],
        samples=SAMPLES if options.samples is None else options.samples,
    )
