"""``charloom pull``: download a model from the Hugging Face Hub."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from charloom._util.atomic_io import write_atomically
from charloom.interop.hub.client import pull, repo_name
from charloom.model.file.model_file import SUFFIX
from charloom.model.file.run_folder import MODEL, check_new_file
from charloom.model.file.schema import bits_per_char
from charloom.terminal.messages import json_option, print_json, print_message, quiet_option
from charloom.training.checkpoint import read_checkpoint


@click.command("pull")
@click.argument("repo", metavar="OWNER/NAME")
@click.option("-o", "--output", help="File to write. It must not exist.  [default: NAME.safetensors]")
@click.option("--revision", help="Branch, tag or commit to download.  [default: the main branch]")
@json_option
@quiet_option
def command(repo: str, output: str | None, revision: str | None, as_json: bool, quiet: bool) -> None:
    """Download a model from the Hugging Face Hub.

    The file is verified before it is saved: a damaged file, or one that is not a charloom model, is rejected. Private
    models require `hf auth login` or HF_TOKEN.

    \b
    charloom pull ada/my-book
    charloom generate my-book.safetensors
    """
    target = Path(output if output is not None else repo_name(repo) + SUFFIX)
    check_new_file(target)
    pulled = pull(repo, revision)
    saved, _ = read_checkpoint(pulled.data, f"{MODEL} of {repo}")
    write_atomically(target, pulled.data)
    a = saved.architecture
    print_message(f"{target}: {a.in_words}, {len(pulled.data):,} bytes", quiet)
    print_message(f"To generate text:\n  charloom generate {shlex.quote(str(target))}", quiet)
    if as_json:
        print_json(
            {
                "file": str(target),
                "repo": repo,
                "commit": pulled.commit,
                "file_bytes": len(pulled.data),
                "parameters": a.num_parameters,
                "bits_per_char": bits_per_char(saved.facts),
            }
        )
