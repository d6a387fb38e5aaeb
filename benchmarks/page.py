"""docs/benchmarks.md, made of the lines of JSON in `results` and of nothing else; record.py adds to them.

A benchmark's lines are in one file of its name. The page shows the newest of each command and processor.
"""

import ast
import json
import statistics
from pathlib import Path

HERE = Path(__file__).parent
RESULTS, DOCUMENT = HERE / "results", HERE.parent / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

Made by `benchmarks/page.py` of the lines in `benchmarks/results`; `make record BENCHMARK=encoding` measures one on
your machine, where nothing else runs, and adds it. Each section says with which command, when and on what; "load" is
how many processes wanted to run in the minute before. What the figures mean, and how they came to be, is told where
they are used: [how fast training is](performance.md), [serving](serving.md), [decisions](decisions/index.md).
"""


def figure(value):
    """Write a number with about three digits that count; anything else as it is.

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
    """Return lines of a table.

    Args:
        rows: What each row is called, and its figures by column; a figure that a row has not stays empty.
        first: What the rows are.
    """
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    cells = {name: [figure(row.get(column)) for column in columns] for name, row in rows.items()}
    yield f"| {' | '.join([first, *(column.replace('_', ' ') for column in columns)])} |"
    yield f"|---|{'---:|' * len(columns)}"
    yield from (f"| {name} | {' | '.join(row)} |" for name, row in cells.items())


def encoding(found):
    yield from table(found["texts"], f"{found['characters']:,} characters")


def startup(found):
    rows = {name: row for name, row in found.items() if isinstance(row, dict) and "megabytes" in row}
    yield from table(rows)
    yield ""
    yield from table({name: {"seconds after NumPy": value} for name, value in found["after_numpy"].items()})


def saving(found):
    yield from table(found["recipes"], "recipe")


def generation(found):
    for case in found["cases"]:
        yield f"{case['cell'].upper()} of {case['hidden']}, {case['vocabulary']:,} characters known, "
        yield f"{case['streams']} texts at once, threads: {case['threads']}:"
        yield ""
        ours = case["chars_per_second"]["charloom, int8"]
        rows = case["chars_per_second"].items()
        yield from table({p: {"characters a second": round(r), "charloom is faster by": ours / r} for p, r in rows})
        yield ""


def training(found):
    for name, peers in found["cases"].items():
        ours = peers["charloom, as it chooses"]["seconds"]
        yield f"{name}:"
        yield ""
        rows = {
            peer: {"ms a step": 1000 * row["seconds"], "of charloom's": row["seconds"] / ours, "MB": row["megabytes"]}
            for peer, row in peers.items()
        }
        yield from table(rows)
        yield ""


def where_time_goes(found):
    parts = dict.fromkeys(part for case in found["milliseconds"].values() for part in case)
    rows = {part: {name: case[part] for name, case in found["milliseconds"].items()} for part in parts}
    yield from table(rows, "milliseconds of a step")


def time_to_loss(found):
    def row(rounds):
        losses = [points[-1][1] for points in rounds]
        seconds = statistics.fmean(points[-1][0] for points in rounds)
        return {"runs": len(rounds), "seconds": seconds, "held-out loss": f"{statistics.fmean(losses):.4f}"}

    yield from table({peer: row(rounds) for peer, rounds in found["peers"].items()}, "nats per character")


def quality(found):
    keys = ("one_stream", "crops", "train_loss")
    rows = {
        str(seed): {"steps": run["steps"], "seconds": run["wall_seconds"], **{key: f"{run[key]:.4f}" for key in keys}}
        for seed, run in enumerate(found["runs"])
    }
    yield from table(rows, f"{found['corpus']}, seed")


def int8_cost(found):
    rows = {
        name: {key: f"{value:.5f}" for key, value in row.items() if isinstance(value, float)}
        for name, row in found["models"].items()
    }
    yield from table(rows, "bits per character")


def indexing(found):
    rows = {
        f"index of {found['bytes']:,} bytes, MB/s": found["indexed_bytes_per_second"] / 1e6,
        "known already, MB/s": found["known_bytes_per_second"] / 1e6,
        f"{found['steps']:,} steps, MiB more than on its first megabyte": found["more_mib"],
    }
    yield from table({name: {"measured": value} for name, value in rows.items()})


def looking(found):
    rows = {f"{name}, characters a second": rate for name, rate in found["rates"].items()}
    rows |= {"novelty of 100,000 characters, s": found["novelty"]["seconds"], "charloom report, s": found["report"]}
    yield from table({name: {"measured": value} for name, value in rows.items()})


def serving(found):
    rows = {name: row for name, row in found.items() if isinstance(row, dict) and name != "run"}
    for name, row in rows.items():
        shown = ", ".join(f"{key.replace('_', ' ')} {figure(value)}" for key, value in row.items() if value is not None)
        yield f"- {name}: {shown}"
    yield f"- share of the engine: {figure(found['share_of_the_engine'])}"


TABLES = {
    shown.__name__: shown
    for shown in (
        generation, training, where_time_goes, time_to_loss, quality, int8_cost, saving, encoding, indexing, looking,
        serving, startup,
    )
}  # fmt: skip


def newest(lines):
    """Return the last of each command and processor, the newest first."""
    found = {(line["run"]["command"], line["run"]["processor"]): line for line in lines}
    return sorted(found.values(), key=lambda line: line["run"]["date"], reverse=True)


def read(folder):
    """Return the lines of each benchmark, in the order of the page.

    Raises:
        SystemExit: If a file is of no benchmark that the page knows, or a line is of another.
    """
    files = {path.stem: path for path in folder.glob("*.jsonl")}
    if unknown := set(files) - set(TABLES):
        raise SystemExit(f"{folder}: {min(unknown)}.jsonl is of no benchmark; known are {', '.join(TABLES)}.")
    for name in (name for name in TABLES if name in files):
        lines = [json.loads(line) for line in files[name].read_text(encoding="utf-8").splitlines()]
        if strangers := {line["benchmark"] for line in lines} - {name}:
            raise SystemExit(f"{files[name]} holds a line of {min(strangers)!r}.")
        yield name, newest(lines)


def claim(name):
    """Return the first sentence of the benchmark's own description."""
    tree = ast.parse((HERE / f"{name}.py").read_text(encoding="utf-8"))
    return ast.get_docstring(tree).partition("\n\n")[0].replace("\n", " ")


def section(name, lines):
    """Return the lines of a benchmark's section."""
    yield f"## {name.replace('_', ' ').capitalize()}"
    yield ""
    yield claim(name)
    for line in lines:
        run = line["run"]
        versions = ", ".join(f"{package} {number}" for package, number in run["versions"].items())
        yield ""
        yield f"`{run['command']}`, {run['date']}: {run['processor']}, cores: {run['cores']}, load: {run['load']};"
        yield f"{run['system']}, {versions}."
        yield ""
        yield from TABLES[name](line)


def page(folder):
    """Return the page that the results in a folder make."""
    parts = ["\n".join(section(name, lines)).rstrip() + "\n" for name, lines in read(folder)]
    return "\n".join([HEAD, *(parts or ["Nothing has been kept yet.\n"])])


def write_page():
    """Write docs/benchmarks.md."""
    DOCUMENT.write_text(page(RESULTS), encoding="utf-8")


if __name__ == "__main__":
    write_page()
