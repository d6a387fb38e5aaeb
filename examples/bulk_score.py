"""Score every line of text files on several processes or machines, and filter lines by perplexity.

    python examples/bulk_score.py shakespeare corpus/ -o scores --workers 2
    python examples/bulk_score.py shakespeare corpus/ -o scores --scheduler tcp://10.0.0.1:8786
    python examples/bulk_score.py shakespeare corpus/ -o scores --workers 2 --most 8 --keep kept.txt

Run the same command again to continue where it stopped. Needs `pip install 'charloom[bulk]'`.
The guide is docs/guides/scaling.md.
"""

import argparse
import math
import sys
from pathlib import Path

from charloom.bulk.dask import run_on_dask
from charloom.bulk.results import write_filtered, write_rows
from charloom.bulk.scoring import UNKNOWN_LINES, scoring_job
from charloom.errors import CharloomError
from charloom.inference.generation_options import PRECISIONS


def show(done: int, total: int) -> None:
    """Print the progress on one line."""
    print(f"\r{done:,} of {total:,} partitions", end="", file=sys.stderr, flush=True)


def work(options: argparse.Namespace) -> None:
    """Run the job, and write the requested files."""
    job = scoring_job(
        options.output,
        options.model,
        options.texts,
        partition_bytes=int(options.partition_mb * 1_000_000),
        precision=options.precision,
        unknown=options.unknown,
    )
    run_on_dask(job, workers=None if options.scheduler else options.workers, address=options.scheduler, progress=show)
    lines, characters, nats, unscored = map(job.total, ("rows", "characters", "nats", "unscored"))
    print(f"\n{lines:,} lines, {characters:,} characters scored, {unscored:,} lines without a score")
    if characters:
        print(f"{nats / characters / math.log(2):.4f} bits per character, perplexity {math.exp(nats / characters):.3f}")
    if options.rows:
        print(f"{write_rows(job, options.rows):,} rows in {options.rows}")
    if options.keep:
        counts = write_filtered(job, options.keep, options.least, options.most)
        print(f"{counts.kept:,} lines kept, {counts.outside:,} outside, {counts.unscored:,} without a score left out")


def main() -> None:
    """Parse the command line and run; print errors without a traceback."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model")
    parser.add_argument("texts", nargs="+", metavar="TEXT", help="plain UTF-8 files, folders or globs")
    parser.add_argument("-o", "--output", required=True, help="folder of the job")
    parser.add_argument("--workers", type=int, default=1, help="processes on this machine, one thread each")
    parser.add_argument("--scheduler", help="address of a Dask scheduler to use instead")
    parser.add_argument("--partition-mb", type=float, default=4, help="megabytes per partition")
    parser.add_argument("--precision", choices=PRECISIONS, default="int8")
    parser.add_argument("--unknown", choices=UNKNOWN_LINES, default="mark", help="lines with unknown characters")
    parser.add_argument("--rows", type=Path, help="write all rows to this file of JSON lines")
    parser.add_argument("--keep", type=Path, help="write the lines within these perplexities to this file")
    parser.add_argument("--least", type=float, default=0.0, help="minimum perplexity per character")
    parser.add_argument("--most", type=float, default=math.inf, help="maximum perplexity per character")
    try:
        work(parser.parse_args())
    except CharloomError as error:
        parser.exit(error.exit_code, f"\nError: {error}\n")


if __name__ == "__main__":  # Dask's processes import this file too
    main()
