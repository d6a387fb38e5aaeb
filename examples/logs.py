"""Odd lines in a log: a model reads a quiet day, and what surprises it on the next day is looked at first.

    python examples/logs.py

The data are made here: 6,000 lines of a shop's quiet day to learn from, and 2,000 of the next, in which 40 are odd in
one of six ways that the first day does not have: a status, an address, a path, a level, a service that says what
another says, a line that breaks off. Both days have rare lines that are in order. Nobody tells the model what is odd;
lines are sorted by how many bits they cost it.

What comes out: the lines that cost most, the odd ones marked, and the AUC of four ways to sort: the share of all
pairs of an odd line and one in order in which the odd one comes first. 50 % is chance. Half a minute of training.
"""

import argparse
import random
from collections.abc import Sequence

import charloom

QUIET, NEXT, ODD, SHOWN = 6000, 2000, 40, 12
USERS = ["ada", "ben", "cleo", "dara", "emil", "finn", "gala", "hugo", "iris", "juno"]
TABLES = ["orders", "items", "carts", "stock", "prices"]
LEVELS = {"INFO ": "ERROR", "WARN ": "FATAL"}
SERVICES = ("api   ", "auth  ", "db    ", "mail  ", "backup")


def make_line(rng: random.Random) -> str:
    """Return what follows the time in a line of a quiet day."""
    user, table, number = rng.choice(USERS), rng.choice(TABLES), rng.randrange(1, 1000)
    kinds = {
        f"INFO  api    GET /{table}/{number} 200 {rng.randrange(2, 90)}ms user={user}": 40,
        f"INFO  api    POST /{table} 201 {rng.randrange(5, 90)}ms user={user}": 15,
        f"WARN  api    GET /{table}/{number} 404 {rng.randrange(2, 40)}ms user={user}": 4,
        f"INFO  auth   login user={user} from=10.0.{rng.randrange(4)}.{rng.randrange(1, 255)}": 12,
        f"WARN  auth   wrong password user={user} from=10.0.{rng.randrange(4)}.{rng.randrange(1, 255)}": 2,
        f"INFO  db     query table={table} rows={number} {rng.randrange(1, 60)}ms": 20,
        f"INFO  mail   sent template=receipt to={user}@example.org": 6,
        f"INFO  backup wrote {number} MB in {rng.randrange(3, 60)} s": 1,
    }
    return rng.choices(list(kinds), list(kinds.values()))[0]


def make_odd(rng: random.Random) -> str:
    """Return a line that no quiet day has."""
    user, table, line = rng.choice(USERS), rng.choice(TABLES), make_line(rng)
    others = [service for service in SERVICES if service != line[6:12]]
    return rng.choice(
        [
            f"INFO  api    GET /{table}/{rng.randrange(1, 1000)} 500 {rng.randrange(2, 90)}ms user={user}",
            f"INFO  auth   login user={user} from=185.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(256)}",
            f"INFO  api    GET /{table}/../../etc/passwd 200 {rng.randrange(2, 90)}ms user={user}",
            LEVELS[line[:6].rstrip() + " "] + line[5:],
            line[:6] + rng.choice(others) + line[12:],
            line[: rng.randrange(13, len(line) - 8)],
        ]
    )


def make_day(rng: random.Random, lines: int, odd: int = 0) -> tuple[list[str], list[bool]]:
    """Return a day's lines in the order of their times, and whether each is odd."""
    marks = [i < odd for i in range(lines)]
    rng.shuffle(marks)
    seconds = sorted(rng.randrange(86_400) for _ in range(lines))
    said = [(make_odd if mark else make_line)(rng) for mark in marks]
    return [
        f"{s // 3600:02}:{s // 60 % 60:02}:{s % 60:02} {line}" for s, line in zip(seconds, said, strict=True)
    ], marks


def auc(values: Sequence[float], marks: Sequence[bool]) -> float:
    """Return the share of pairs, one marked and one not, in which the marked has the higher value; equal is half.

    It is counted by ranks: a marked value's rank is how many values are lower, and half of the others that are equal.

    Raises:
        ValueError: If nothing is marked, or everything.
    """
    marked, total = sum(marks), len(values)
    if marked in (0, total):
        raise ValueError(f"An AUC compares marked values with others; {marked} of {total} are marked.")
    order = sorted(values)
    ranks: dict[float, float] = {}
    for i, value in enumerate(order):
        ranks.setdefault(value, i)
    last = {value: i for i, value in enumerate(order)}
    found = sum((ranks[value] + last[value]) / 2 for value, mark in zip(values, marks, strict=True) if mark)
    return (found - marked * (marked - 1) / 2) / (marked * (total - marked))


def run(minutes: float, seed: int) -> None:
    """Train on one day, and sort the next."""
    rng = random.Random(seed)
    quiet, _ = make_day(rng, QUIET)
    lines, marks = make_day(rng, NEXT, ODD)
    corpus = charloom.Corpus("\n".join(quiet), "logs", text_format=charloom.TextFormat(lines=True))
    bits = [one.surprisals for one in charloom.train(corpus, minutes=minutes, seed=seed).score_many(lines)]
    ways = {
        "the dearest character": [float(one.max()) for one in bits],
        "bits of the line": [float(one.sum()) for one in bits],
        "bits per character": [float(one.mean()) for one in bits],
        "length, without a model": [float(len(line)) for line in lines],
    }
    peaks = ways["the dearest character"]
    order = sorted(range(len(lines)), key=lambda i: -peaks[i])
    for i in order[:SHOWN]:
        print(f"{'odd' if marks[i] else '   '} {peaks[i]:5.1f} bits  {lines[i]}")
    print(f"found: {sum(marks[i] for i in order[:ODD])} of {ODD} odd lines are among the {ODD} dearest of {NEXT:,}")
    for way, values in ways.items():
        print(f"AUC {auc(values, marks):6.1%}  {way}")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="Odd lines in a log.")
    parser.add_argument("--minutes", type=float, default=0.5, help="of training (default: 0.5)")
    parser.add_argument("--seed", type=int, default=1, help="of data and training (default: 1)")
    options = parser.parse_args()
    try:
        charloom.Settings(minutes=options.minutes, seed=options.seed)  # refused before the data are made
        run(options.minutes, options.seed)
    except charloom.CharloomError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
