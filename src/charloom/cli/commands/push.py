"""``charloom push``: upload a model to the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from charloom.errors import InputError
from charloom.inference.generation_options import MAX_SEED
from charloom.interop.hub.client import push, repo_name, require_hub
from charloom.interop.hub.package import Package, build_package, check_new_folder, write_package
from charloom.model.file.run_folder import find_model
from charloom.terminal.messages import json_option, print_json, quiet_option, say, say_all

_MOST_SAMPLES = 20
_FORMS = ("int8", "float16", "float32")


@click.command("push")
@click.argument("repo", metavar="OWNER/NAME")
@click.argument("model")
@click.option("--license", "license_name", help="As the Hub names it: mit, cc0-1.0 ...  [default: none is stated]")
@click.option("--private", is_flag=True, help="Make the repository private, if it is new.")
@click.option("--message", default="Upload a charloom model", show_default=True, help="The commit's message.")
@click.option("--to", "form", type=click.Choice(_FORMS), help="How to store the weights.  [default: as they are]")
@click.option(
    "--samples", type=click.IntRange(0, _MOST_SAMPLES), default=3, show_default=True, help="Texts in the card."
)
@click.option(
    "--seed",
    type=click.IntRange(0, MAX_SEED - _MOST_SAMPLES),
    default=1,
    show_default=True,
    help="Of the first of them.",
)
@click.option("--dry-run", "folder", metavar="FOLDER", help="Write all of it to this new folder, upload nothing.")
@json_option
@quiet_option
def command(
    repo: str,
    model: str,
    license_name: str | None,
    private: bool,
    message: str,
    form: str | None,
    samples: int,
    seed: int,
    folder: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Put a model on the Hugging Face Hub, with a card that says what it is.

    Uploaded are model.safetensors, verified before; README.md, the model card: facts, and texts that it writes; and
    recipe.toml, if the model tells all its settings. The text that it was trained on is not. A repository that is there
    gets a new commit. Who you are the Hub learns from `hf auth login` or HF_TOKEN.

    \b
    charloom push ada/my-book runs/my_book --license cc0-1.0 --dry-run card
    charloom push ada/my-book runs/my_book --license cc0-1.0
    """
    repo_name(repo)
    if not message.strip():
        raise InputError("The commit's message is empty. Say something with --message, or leave it out.")
    if folder is None:
        require_hub()
    else:
        check_new_folder(Path(folder))
    package = build_package(find_model(model), repo, form, license_name, range(seed, seed + samples))
    say_all(package.notices, quiet)
    if folder is not None:
        found = _written(Path(folder), package, quiet)
    else:
        found = _pushed(repo, package, message, private, quiet)
    if as_json:
        sizes = {name: len(data) for name, data in package.files.items()}
        print_json({"repo": repo, **found, "license": license_name, "files": sizes})


def _written(folder: Path, package: Package, quiet: bool) -> dict[str, Any]:
    write_package(folder, package)
    say(f"{folder}: {_contents(package)}; nothing was uploaded", quiet)
    return {"folder": str(folder)}


def _pushed(repo: str, package: Package, message: str, private: bool, quiet: bool) -> dict[str, Any]:
    pushed = push(repo, package.files, message, private)
    if pushed.existed:
        say("note: the repository was there; what these files were before stays in its history", quiet)
    say(f"{pushed.url}: {_contents(package)}", quiet)
    return {"url": pushed.url, "commit": pushed.commit, "existed": pushed.existed}


def _contents(package: Package) -> str:
    return ", ".join(f"{name} ({len(data):,} bytes)" for name, data in package.files.items())
