"""``charloom push``: upload a model to the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from charloom.errors import InputError, Notice
from charloom.inference.generation_options import MAX_SEED
from charloom.interop.hub.client import push, repo_name, require_hub
from charloom.interop.hub.package import Package, build_package, check_new_folder, write_package
from charloom.model.file.run_folder import find_model
from charloom.terminal.messages import json_option, print_json, print_message, print_notices, quiet_option

_MAX_SAMPLES = 20
_FORMS = ("int8", "float16", "float32")


@click.command("push")
@click.argument("repo", metavar="OWNER/NAME")
@click.argument("model")
@click.option("--license", "license_name", help="License id on the Hub, such as mit or cc0-1.0.  [default: none]")
@click.option("--private", is_flag=True, help="Create the repository as private, if it does not exist.")
@click.option("--message", default="Upload a charloom model", show_default=True, help="Commit message.")
@click.option("--to", "form", type=click.Choice(_FORMS), help="Storage format of the weights.  [default: unchanged]")
@click.option(
    "--samples",
    type=click.IntRange(0, _MAX_SAMPLES),
    default=3,
    show_default=True,
    help="Number of generated samples in the model card.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, MAX_SEED - _MAX_SAMPLES),
    default=1,
    show_default=True,
    help="Random seed of the first sample.",
)
@click.option(
    "--dry-run", "folder", metavar="FOLDER", help="Write all files to this new folder instead of uploading them."
)
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
    """Upload a model and its model card to the Hugging Face Hub.

    Uploads model.safetensors (verified first), README.md (a model card with facts and generated samples), and
    recipe.toml if the model contains all its training settings. The training text is never uploaded. An existing
    repository gets a new commit. Log in with `hf auth login`, or set HF_TOKEN.

    \b
    charloom push ada/my-book runs/my_book --license cc0-1.0 --dry-run card
    charloom push ada/my-book runs/my_book --license cc0-1.0
    """
    repo_name(repo)
    if not message.strip():
        raise InputError("--message must not be empty. Omit it for the default message.", code="empty_commit_message")
    if folder is None:
        require_hub()
    else:
        check_new_folder(Path(folder))
    package = build_package(find_model(model), repo, form, license_name, range(seed, seed + samples))
    print_notices(package.notices, quiet)
    if folder is not None:
        result = _write_to_folder(Path(folder), package, quiet)
    else:
        result = _upload(repo, package, message, private, quiet)
    if as_json:
        sizes = {name: len(data) for name, data in package.files.items()}
        print_json({"repo": repo, **result, "license": license_name, "files": sizes})


def _write_to_folder(folder: Path, package: Package, quiet: bool) -> dict[str, Any]:
    write_package(folder, package)
    print_message(f"{folder}: {_contents(package)}; nothing was uploaded", quiet)
    return {"folder": str(folder)}


def _upload(repo: str, package: Package, message: str, private: bool, quiet: bool) -> dict[str, Any]:
    pushed = push(repo, package.files, message, private)
    if pushed.existed:
        notice = Notice(
            "The repository already existed. Its commit history keeps the previous versions of the files.",
            code="repository_existed",
            repo=repo,
        )
        print_notices([notice], quiet)
    print_message(f"{pushed.url}: {_contents(package)}", quiet)
    return {"url": pushed.url, "commit": pushed.commit, "existed": pushed.existed}


def _contents(package: Package) -> str:
    return ", ".join(f"{name} ({len(data):,} bytes)" for name, data in package.files.items())
