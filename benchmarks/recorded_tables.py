"""Tables of the results that `record.py` keeps: one JSON line per run in `results/NAME.jsonl`.

For each benchmark, the newest run per command and processor is shown.
"""

import ast
import json
import statistics
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def figure(value):
    """Format a number with three significant digits; return strings unchanged.

    >>> [figure(value) for value in (1234567.8, 12.34, 1.234, 0.012345, 0.0, 65, None, "gru")]
    ['1,234,568', '12.3', '1.23', '0.0123', '0', '65', '', 'gru']
    """
    if value is None or isinstance(value, str):
        return value or ""
    size = abs(value)
    if isinstance(value, int) or size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 1 else f"{value:.3g}"


def table(rows, first=""):
    """Yield the lines of a Markdown table.

    Args:
        rows: Row name -> {column name: value}; a missing value leaves its cell empty.
        first: Heading of the first column.
    """
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    cells = {name: [figure(row.get(column)) for column in columns] for name, row in rows.items()}
    yield f"| {' | '.join([first, *(column.replace('_', ' ') for column in columns)])} |"
    yield f"|---|{'---:|' * len(columns)}"
    yield from (f"| {name} | {' | '.join(row)} |" for name, row in cells.items())


def encoding(result):
    yield from table(result["texts"], f"{result['characters']:,} characters")


def startup(result):
    rows = {name: row for name, row in result.items() if isinstance(row, dict) and "megabytes" in row}
    yield from table(rows)
    yield ""
    yield from table({name: {"seconds after NumPy": value} for name, value in result["after_numpy"].items()})


def saving(result):
    yield from table(result["recipes"], "recipe")


def generation(result):
    for case in result["cases"]:
        yield f"{case['cell'].upper()} of {case['hidden']}, vocabulary of {case['vocabulary']:,} characters, "
        yield f"streams: {case['streams']}, threads: {case['threads']}:"
        yield ""
        ours = case["chars_per_second"]["charloom, int8"]
        rates = case["chars_per_second"].items()
        yield from table(
            {peer: {"characters per second": round(rate), "charloom is faster by": ours / rate} for peer, rate in rates}
        )
        yield ""


def training(result):
    for name, peers in result["cases"].items():
        ours = peers["charloom, default precision"]["seconds"]
        yield f"{name}:"
        yield ""
        rows = {
            peer: {"ms per step": 1000 * row["seconds"], "relative to charloom": row["seconds"] / ours}
            | {"MB": row["megabytes"]}
            for peer, row in peers.items()
        }
        yield from table(rows)
        yield ""


def where_time_goes(result):
    parts = dict.fromkeys(part for case in result["milliseconds"].values() for part in case)
    rows = {part: {name: case[part] for name, case in result["milliseconds"].items()} for part in parts}
    yield from table(rows, "ms per step")


def time_to_loss(result):
    def row(rounds):
        losses = [points[-1][1] for points in rounds]
        seconds = statistics.fmean(points[-1][0] for points in rounds)
        return {"runs": len(rounds), "seconds": seconds, "held-out loss": f"{statistics.fmean(losses):.4f}"}

    yield from table({peer: row(rounds) for peer, rounds in result["peers"].items()}, "nats per character")


def quality(result):
    keys = ("one_stream", "crops", "train_loss")
    rows = {
        str(seed): {"steps": run["steps"], "seconds": run["wall_seconds"], **{key: f"{run[key]:.4f}" for key in keys}}
        for seed, run in enumerate(result["runs"])
    }
    yield from table(rows, f"{result['corpus']}, seed")


def int8_cost(result):
    rows = {
        name: {key: f"{value:.5f}" for key, value in row.items() if isinstance(value, float)}
        for name, row in result["models"].items()
    }
    yield from table(rows, "bits per character")


def indexing(result):
    rows = {
        f"write the index of {result['bytes']:,} bytes, MB/s": result["indexed_bytes_per_second"] / 1e6,
        "find an existing index, MB/s": result["known_bytes_per_second"] / 1e6,
        f"{result['steps']:,} steps, MiB more than on the first megabyte": result["more_mib"],
    }
    yield from table({name: {"measured": value} for name, value in rows.items()})


def analysis(result):
    rows = {f"{name}, characters per second": rate for name, rate in result["rates"].items()}
    rows |= {
        "memorization of 100,000 characters, s": result["novelty"]["seconds"],
        "charloom report, s": result["report"],
    }
    yield from table({name: {"measured": value} for name, value in rows.items()})


def serving(result):
    rows = {name: row for name, row in result.items() if isinstance(row, dict) and name != "run"}
    for name, row in rows.items():
        values = (f"{key.replace('_', ' ')} {figure(value)}" for key, value in row.items() if value is not None)
        yield f"- {name}: {', '.join(values)}"
    yield f"- share of the engine's rate: {figure(result['share_of_engine_rate'])}"


TABLES = {
    shown.__name__: shown
    for shown in (
        generation, training, where_time_goes, time_to_loss, quality, int8_cost, saving, encoding, indexing, analysis,
        serving, startup,
    )
}  # fmt: skip


def newest(lines):
    """Return the last line of each command and processor, newest first."""
    last = {(line["run"]["command"], line["run"]["processor"]): line for line in lines}
    return sorted(last.values(), key=lambda line: line["run"]["date"], reverse=True)


def read(name, folder=None):
    """Return the newest lines of a benchmark; an empty list if it was never recorded.

    Raises:
        SystemExit: If the benchmark is unknown, or a line belongs to another benchmark.
    """
    if name not in TABLES:
        raise SystemExit(f"Unknown benchmark {name!r}. Known benchmarks: {', '.join(sorted(TABLES))}.")
    path = (folder or RESULTS) / f"{name}.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    if strangers := {line["benchmark"] for line in lines} - {name}:
        raise SystemExit(f"{path} contains a line of the benchmark {min(strangers)!r}.")
    return newest(lines)


def summary(name):
    """Return the first sentence of the benchmark's docstring."""
    tree = ast.parse((HERE / f"{name}.py").read_text(encoding="utf-8"))
    return ast.get_docstring(tree).partition("\n\n")[0].replace("\n", " ")


def section(name, folder=None):
    """Return the Markdown of a benchmark's recorded results; empty if there are none."""
    lines = []
    for result in read(name, folder):
        run = result["run"]
        versions = ", ".join(f"{package} {number}" for package, number in run["versions"].items())
        lines += [f"`{run['command']}`, {run['date']}, {run['processor']}, cores: {run['cores']}, load: {run['load']};"]
        lines += [f"{run['system']}, {versions}.", "", *TABLES[name](result), ""]
    return "\n".join(lines and [summary(name), "", *lines]).rstrip()
