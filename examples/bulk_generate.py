"""Generate a synthetic dataset on several processes or machines.

    python examples/bulk_generate.py shakespeare 10000 -o set --prompt "ROMEO:" --length 300 --workers 2

The texts do not depend on the number of workers, and `charloom generate` reproduces each text with the seed in its row.
Run the same command again to continue where it stopped. Needs `pip install 'charloom[bulk]'`.
The guide is docs/guides/scaling.md.
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


def work(options: argparse.Namespace) -> None:
    """Run the job, and collect the rows in one file if --rows is given."""
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
    """Parse the command line and run; print errors without a traceback."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model")
    parser.add_argument("count", type=int, metavar="N", help="number of texts")
    parser.add_argument("-o", "--output", required=True, help="the job's folder")
    parser.add_argument("--prompt", default="", help="prompt of each text")
    parser.add_argument("--length", type=int, default=1000, help="number of characters after the prompt")
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--seed", type=int, default=0, help="seed; the same seed gives the same set")
    parser.add_argument("--partition-texts", type=int, default=1000, help="texts per partition")
    parser.add_argument("--workers", type=int, default=1, help="processes on this machine, one thread each")
    parser.add_argument("--scheduler", help="address of a Dask scheduler to use instead")
    parser.add_argument("--rows", type=Path, help="write all texts to this file as JSON lines")
    try:
        work(parser.parse_args())
    except CharloomError as error:
        parser.exit(error.exit_code, f"\nError: {error}\n")


if __name__ == "__main__":  # Dask's worker processes import this file too
    main()
