"""Detect anomalies in a log: a model trains on a normal day and ranks the lines of the next day by surprisal.

    python examples/logs.py

The script generates the data: 6,000 lines of a shop's normal day to train on, and 2,000 lines of the next day. Of
these, 40 are anomalous in one of six ways: a status, an address, a path, a level, a message of another service, or a
truncated line. Both days contain rare normal lines. The model is never told what is anomalous.

Output: the lines with the highest surprisal, anomalies marked, and the AUC of four ways to rank lines: the share of
pairs of an anomaly and a normal line in which the anomaly ranks first (50 % is chance). Trains for half a minute.
"""

import argparse
import random
from collections.abc import Sequence

import charloom

NORMAL, NEXT, ANOMALIES, SHOWN = 6000, 2000, 40, 12
USERS = ["ada", "ben", "cleo", "dara", "emil", "finn", "gala", "hugo", "iris", "juno"]
TABLES = ["orders", "items", "carts", "stock", "prices"]
LEVELS = {"INFO ": "ERROR", "WARN ": "FATAL"}
SERVICES = ("api   ", "auth  ", "db    ", "mail  ", "backup")


def make_line(rng: random.Random) -> str:
    """Return a normal line without its time."""
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


def make_anomaly(rng: random.Random) -> str:
    """Return a line without its time that does not occur on a normal day."""
    user, table, line = rng.choice(USERS), rng.choice(TABLES), make_line(rng)
    other_services = [service for service in SERVICES if service != line[6:12]]
    return rng.choice(
        [
            f"INFO  api    GET /{table}/{rng.randrange(1, 1000)} 500 {rng.randrange(2, 90)}ms user={user}",
            f"INFO  auth   login user={user} from=185.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(256)}",
            f"INFO  api    GET /{table}/../../etc/passwd 200 {rng.randrange(2, 90)}ms user={user}",
            LEVELS[line[:6].rstrip() + " "] + line[5:],
            line[:6] + rng.choice(other_services) + line[12:],
            line[: rng.randrange(13, len(line) - 8)],
        ]
    )


def make_day(rng: random.Random, lines: int, anomalies: int = 0) -> tuple[list[str], list[bool]]:
    """Return the lines of a day in order of time, and for each whether it is an anomaly."""
    marks = [i < anomalies for i in range(lines)]
    rng.shuffle(marks)
    seconds = sorted(rng.randrange(86_400) for _ in range(lines))
    messages = [(make_anomaly if mark else make_line)(rng) for mark in marks]
    return [
        f"{s // 3600:02}:{s // 60 % 60:02}:{s % 60:02} {line}" for s, line in zip(seconds, messages, strict=True)
    ], marks


def auc(values: Sequence[float], marks: Sequence[bool]) -> float:
    """Return the area under the ROC curve: the share of pairs of a marked and an unmarked value ranked correctly.

    The marked value must be higher; a tie counts half. Computed from ranks: the rank of a marked value is the number of
    lower values plus half of the other equal values.

    Raises:
        ValueError: If no value is marked, or all are.
    """
    marked, total = sum(marks), len(values)
    if marked in (0, total):
        raise ValueError(f"An AUC needs marked and unmarked values, but {marked} of {total} are marked.")
    order = sorted(values)
    ranks: dict[float, float] = {}
    for i, value in enumerate(order):
        ranks.setdefault(value, i)
    last = {value: i for i, value in enumerate(order)}
    rank_sum = sum((ranks[value] + last[value]) / 2 for value, mark in zip(values, marks, strict=True) if mark)
    return (rank_sum - marked * (marked - 1) / 2) / (marked * (total - marked))


def run(minutes: float, seed: int) -> None:
    """Train on one day and rank the lines of the next."""
    rng = random.Random(seed)
    normal, _ = make_day(rng, NORMAL)
    lines, marks = make_day(rng, NEXT, ANOMALIES)
    corpus = charloom.Corpus("\n".join(normal), "logs", text_format=charloom.TextFormat(lines=True))
    bits = [score.surprisals for score in charloom.train(corpus, minutes=minutes, seed=seed).score_many(lines)]
    rankings = {
        "highest surprisal of a character": [float(line.max()) for line in bits],
        "bits of the line": [float(line.sum()) for line in bits],
        "bits per character": [float(line.mean()) for line in bits],
        "length of the line (no model)": [float(len(line)) for line in lines],
    }
    peaks = rankings["highest surprisal of a character"]
    order = sorted(range(len(lines)), key=lambda i: -peaks[i])
    for i in order[:SHOWN]:
        print(f"{'anomaly' if marks[i] else '       '} {peaks[i]:5.1f} bits  {lines[i]}")
    found = sum(marks[i] for i in order[:ANOMALIES])
    print(f"found: {found} of {ANOMALIES} anomalies among the {ANOMALIES} most surprising of {NEXT:,} lines")
    for ranking, values in rankings.items():
        print(f"AUC {auc(values, marks):6.1%}  {ranking}")


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description="Detect anomalies in a log.")
    parser.add_argument("--minutes", type=float, default=0.5, help="training time (default: 0.5)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the data and training (default: 1)")
    options = parser.parse_args()
    try:
        charloom.Settings(
            minutes=options.minutes, seed=options.seed
        )  # rejects bad values before the data are generated
        run(options.minutes, options.seed)
    except charloom.CharloomError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
