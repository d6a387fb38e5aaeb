"""Generate a synthetic set of many texts with several processes or machines.

    python examples/bulk_generate.py shakespeare 10000 -o set --prompt "ROMEO:" --length 300 --workers 2

Text number i does not depend on the number of workers; `charloom generate` with the seed in its row writes the same
text. Running the command again resumes a stopped job. Requires `pip install 'charloom[bulk]'`.
"""

import argparse
import sys
from pathlib import Path

from charloom.bulk.dask import run_on_dask
from charloom.bulk.generation import generation_job
from charloom.bulk.results import write_rows
from charloom.errors import CharloomError


def show(done: int, total: int) -> None:
    """Print the progress on one line."""
    print(f"\r{done:,} of {total:,} partitions", end="", file=sys.stderr, flush=True)


def generate(options: argparse.Namespace) -> None:
    """Generate the texts, then write them to one file if requested."""
    job = generation_job(
        options.output,
        options.model,
        options.count,
        prompt=options.prompt,
        length=options.length,
        temperature=options.temperature,
        seed=options.seed,
        partition_texts=options.partition_texts,
    )
    run_on_dask(job, workers=None if options.scheduler else options.workers, address=options.scheduler, progress=show)
    print(f"\n{options.count:,} texts in {options.output}")
    if options.rows:
        print(f"{write_rows(job, options.rows):,} rows in {options.rows}")


def main() -> None:
    """Parse the command line; report an error as one message."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model")
    parser.add_argument("count", type=int, metavar="N", help="number of texts")
    parser.add_argument("-o", "--output", required=True, help="folder of the job")
    parser.add_argument("--prompt", default="", help="start of each text")
    parser.add_argument("--length", type=int, default=1000, help="characters after the prompt")
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--seed", type=int, default=0, help="seed; the same seed gives the same set")
    parser.add_argument("--partition-texts", type=int, default=1000, help="texts per partition")
    parser.add_argument("--workers", type=int, default=1, help="processes on this machine, one thread each")
    parser.add_argument("--scheduler", help="address of a Dask scheduler to use instead")
    parser.add_argument("--rows", type=Path, help="write all texts to this file as JSON lines")
    try:
        generate(parser.parse_args())
    except CharloomError as error:
        parser.exit(error.exit_code, f"\nError: {error}\n")


if __name__ == "__main__":  # Dask's worker processes import this file too
    main()
