"""``charloom pull``: fetch a model from the Hugging Face Hub."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from charloom._util.atomic_io import write_atomically
from charloom.interop.hub.client import pull, repo_name
from charloom.model.file.model_file import SUFFIX
from charloom.model.file.run_folder import MODEL, check_new_file
from charloom.model.file.schema import bits_per_char
from charloom.terminal.messages import json_option, print_json, quiet_option, say
from charloom.training.checkpoint import read_checkpoint


@click.command("pull")
@click.argument("repo", metavar="OWNER/NAME")
@click.option("-o", "--output", help="The file to write, which must not exist.  [default: NAME.safetensors]")
@click.option("--revision", help="A branch, a tag or a commit.  [default: the main branch]")
@json_option
@quiet_option
def command(repo: str, output: str | None, revision: str | None, as_json: bool, quiet: bool) -> None:
    """Fetch a model from the Hugging Face Hub.

    It is verified before it is written: a file that is no model of charloom, or a damaged one, is refused, and nothing
    of it is left. Private models need `hf auth login` or HF_TOKEN.

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
    say(f"{target}: {a.in_words}, {len(pulled.data):,} bytes", quiet)
    say(f"To write with it:\n  charloom generate {shlex.quote(str(target))}", quiet)
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
