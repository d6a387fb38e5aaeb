"""Tables and figure of the reproduced tutorial: both editions of TensorFlow's "Text generation with an RNN".

`reproduce.py` trains and writes `results/reproduction.json`; this module turns that file into parts of
docs/results.md and into docs/reproduction.png.
"""

import json
import statistics
from functools import cache
from pathlib import Path

REPRODUCTION = Path(__file__).parent / "results" / "reproduction.json"

EDITIONS = {
    "gru-simple": [2.6663, 1.9452, 1.6797, 1.5355, 1.4493, 1.3900, 1.3457, 1.3076, 1.2732, 1.2412],
    "gru-open": [2.1603, 1.7417, 1.5520, 1.4920, 1.4171, 1.3818, 1.3983, 1.3120, 1.3266, 1.2733],
    "lstm-simple": [2.7052, 2.0039, 1.7375, 1.5772, 1.4772, 1.4087, 1.3556, 1.3095, 1.2671, 1.2276],
    "lstm-open": [2.0831, 1.7348, 1.5668, 1.4673, 1.3992, 1.3441, 1.2969, 1.2502, 1.2074, 1.1558],
}
"""Published losses of the editions per epoch: mean with `fit` (simple), last batch with a custom loop (open)."""

UNTRAINED = {"gru": 4.1737, "lstm": 4.1742}
RESET_EDITION = [2.7276, 1.9853, 1.7084, 1.5496, 1.4513, 1.3830, 1.3311, 1.2864, 1.2466, 1.2074]
"""Losses of a later GRU edition with a layer that is not stateful, as reported by one of its readers."""

STATES = {"gru": ("gru-simple", "gru-reset"), "lstm": ("lstm-carried", "lstm-simple")}
"""For each cell: the run that carries the hidden state across windows, and the run that resets it at every window."""

NAMES, EPOCHS = {"gru": "GRU", "lstm": "LSTM"}, 10
EPOCH_NUMBERS = range(1, EPOCHS + 1)
COLOURS = {"gru": "tab:blue", "lstm": "tab:orange"}
SIMPLE_LIMIT, LAST_LIMIT, OPEN_LIMIT = 0.03, 0.02, 0.1


@cache
def results():
    """Return the contents of results/reproduction.json."""
    return json.loads(REPRODUCTION.read_text(encoding="utf-8"))


def part(name, facts=None):
    """Return the Markdown of one part of the section: setup, data, simple, state, open, limits or loops."""
    return "\n\n".join(PARTS[name](facts or results()))


def setup(facts):
    machine = facts["machine"]
    yield (
        f"`make reproduce`, {machine['date']}, {machine['threads']} cores of an {machine['processor']}, "
        f"{machine['precision']}, PyTorch {machine['torch']}, Python {machine['python']}, charloom "
        f"{machine['charloom']}; one run each, seed 0."
    )


def data(facts):
    """Compare what does not depend on training: text, windows, model sizes, untrained loss."""
    corpus = facts["corpus"]
    first = corpus["first_ids"]
    rows = [
        ("characters", "1,115,394", f"{corpus['characters']:,}"),
        ("distinct characters", "65", corpus["distinct"]),
        (f"ids of `{first['text']}`", "18 47 56 57 58 1 15 47 58 47 64 43 52", " ".join(map(str, first["ids"]))),
        ("windows of 101 characters", "11,043", f"{corpus['windows']:,}"),
        ("batches per epoch", "172", corpus["batches"]),
        ("shape of a batch: inputs, targets", "(64, 100), (64, 100)", shapes(corpus)),
        ("shape of the logits", "(64, 100, 65)", tuple(facts["untrained"]["gru"]["logits_shape"])),
        ("parameters, GRU", "4,021,569", f"{facts['untrained']['gru']['parameters']:,}"),
        ("parameters, LSTM", "5,330,241", f"{facts['untrained']['lstm']['parameters']:,}"),
        *(
            (f"untrained loss, {NAMES[cell]}", f"{UNTRAINED[cell]:.4f}", f"{facts['untrained'][cell]['loss']:.4f}")
            for cell in NAMES
        ),
    ]
    yield table(("", "tutorial", "charloom"), rows)


def shapes(corpus):
    return f"{tuple(corpus['inputs_shape'])}, {tuple(corpus['targets_shape'])}"


def simple(facts):
    """Compare the mean loss of each epoch, trained with `fit` (tutorial) and `charloom train`."""
    yield compared(facts, "simple", ("edition", "charloom", "difference"))


def state(facts):
    """Compare each edition with a run that carries the hidden state and a run that resets it."""
    shown = {cell: names for cell, names in STATES.items() if facts["runs"].keys() >= set(names)}
    rows = []
    for cell, names in shown.items():
        for name, how in zip(names, ("carried across windows", "reset at every window"), strict=True):
            differences = distances(facts["runs"][name], f"{cell}-simple")
            largest = max(map(abs, differences[1:]))
            row = (NAMES[cell], how, f"{differences[1]:+.4f}", f"{differences[-1]:+.4f}", f"{largest:.4f}")
            rows.append((*row, f"`{facts['runs'][name]['command']}`"))
    heads = (
        "cell",
        "hidden state",
        "difference, epoch 2",
        "difference, epoch 10",
        "largest, epochs 2 to 10",
        "command",
    )
    yield table(heads, rows)
    later = [resetting - edition for resetting, edition in zip(RESET_EDITION, EDITIONS["gru-simple"], strict=True)]
    yield (
        "A later GRU edition, whose layer is not stateful, also ends below the first one: it reports "
        f"{RESET_EDITION[-1]:.4f} for epoch 10, a difference of {later[-1]:+.4f}; charloom's GRU with the state reset "
        f"has {facts['runs']['gru-reset']['epochs'][-1]:.4f}."
    )


def open_loop(facts):
    """Compare the loss of each epoch's last batch, trained with a custom loop."""
    yield compared(facts, "open", ("edition", "charloom", "difference", "charloom, mean of the epoch"))


def unevenness_of_runs(facts):
    """Report how much each loss curve bends: the mean absolute second difference from epoch 4 on."""
    rows = [(f"{NAMES[cell]}, edition", f"{unevenness(EDITIONS[f'{cell}-open']):.3f}") for cell in NAMES]
    rows += [
        (f"{NAMES[cell]}, charloom", f"{unevenness(facts['runs'][f'{cell}-open']['epochs']):.3f}")
        for cell in cells(facts, "open")
    ]
    yield table(("custom loop, last batch", "mean absolute second difference"), rows)


def limits(facts):
    """Report the largest difference of each run, its limit, and the epochs in which it was missed."""
    rows = []
    for cell in cells(facts, "simple"):
        differences = apart(facts, cell, "simple")
        largest = max(differences[1:], key=abs)
        rows += [limit_row(f"{NAMES[cell]}, `fit`, epochs 2 to 10", largest, differences, SIMPLE_LIMIT, 2)]
        rows += [limit_row(f"{NAMES[cell]}, `fit`, epoch 10", differences[-1], differences, LAST_LIMIT, 10)]
    for cell in cells(facts, "open"):
        differences = apart(facts, cell, "open")
        largest = max(differences, key=abs)
        rows += [limit_row(f"{NAMES[cell]}, custom loop, all epochs", largest, differences, OPEN_LIMIT, 1)]
    yield table(("run", "largest difference", "limit", "result"), rows)


def limit_row(name, difference, differences, limit, first):
    return name, f"{difference:+.4f}", limit, missed(differences, limit, first) or "within the limit"


def loops(facts):
    """Report where greedy decoding and sampling start to repeat themselves."""
    rows = []
    for cell in NAMES:
        for how, text in facts["greedy"][cell].items():
            loop = text["loop"]
            where = f"from character {loop[0]}, {loop[1]} characters long" if loop else "none"
            rows.append(
                (
                    NAMES[cell],
                    "greedy (temperature 0)" if how == "greedy" else how.replace("drawn at", "temperature"),
                    where,
                )
            )
    yield table(("model", "decoding", "loop in 1,000 characters"), rows)


PARTS = {
    "setup": setup,
    "data": data,
    "simple": simple,
    "state": state,
    "open": open_loop,
    "unevenness": unevenness_of_runs,
    "limits": limits,
    "loops": loops,
}


def cells(facts, way):
    """Return the cells that have a run of this kind ("simple" or "open")."""
    return [cell for cell in NAMES if f"{cell}-{way}" in facts["runs"]]


def apart(facts, cell, way):
    """Return charloom's loss minus the edition's, for each epoch."""
    return distances(facts["runs"][f"{cell}-{way}"], f"{cell}-{way}")


def distances(run, edition):
    """Return a run's loss minus an edition's, for each epoch."""
    return [ours - theirs for ours, theirs in zip(run["epochs"], EDITIONS[edition], strict=True)]


def unevenness(losses):
    """Return the mean absolute second difference from the fourth epoch on."""
    return statistics.fmean(abs(a - 2 * b + c) for a, b, c in zip(losses[3:], losses[4:], losses[5:], strict=False))


def missed(differences, limit, first):
    """Say in which epochs, from `first` on, the limit was missed; empty if in none."""
    epochs = [str(i) for i, d in enumerate(differences, 1) if i >= first and abs(d) > limit]
    return f"**missed** in epoch {', '.join(epochs)}" if epochs else ""


def compared(facts, way, columns):
    """Return a table with one row per epoch and these columns for each cell."""
    rows = []
    for i in range(EPOCHS):
        row = [i + 1]
        for cell in cells(facts, way):
            run = facts["runs"][f"{cell}-{way}"]
            theirs, ours = EDITIONS[f"{cell}-{way}"][i], run["epochs"][i]
            row += [f"{theirs:.4f}", f"{ours:.4f}", f"{ours - theirs:+.4f}"]
            row += [f"{run['means'][i]:.4f}"] if len(columns) == 4 else []
        rows.append(row)
    return table(["epoch", *(f"{NAMES[cell]}, {column}" for cell in cells(facts, way) for column in columns)], rows)


def table(heads, rows):
    lines = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in (heads, ["---"] * len(heads), *rows)]
    return "\n".join(lines)


def draw(runs, path):
    """Draw the losses of both kinds of training and, below, their difference from the editions with the limits."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(11, 6.4), sharex=True, height_ratios=(3, 2), layout="constrained")
    for column, (way, title) in enumerate({"simple": "fit, mean", "open": "custom loop, last batch"}.items()):
        losses, differences = axes[:, column]
        for cell, color in COLOURS.items():
            edition = f"{cell}-{way}"
            losses.plot(EPOCH_NUMBERS, EDITIONS[edition], "o", mfc="none", color=color, label=f"{NAMES[cell]}, edition")
            for name, style, label in curves(cell, way):
                if name in runs:
                    losses.plot(EPOCH_NUMBERS, runs[name]["epochs"], style, color=color, label=label)
                    differences.plot(EPOCH_NUMBERS, distances(runs[name], edition), style, color=color)
        limit = SIMPLE_LIMIT if way == "simple" else OPEN_LIMIT
        differences.axhspan(-limit, limit, color="tab:green", alpha=0.12, lw=0)
        differences.axhline(0, color="black", lw=0.8)
        differences.set(xlabel="epoch", xticks=EPOCH_NUMBERS, ylim=(-0.13, 0.13))
        losses.set(title=f"{title} of the epoch", ylim=(1.1, 2.8))
        losses.legend()
        for axis in (losses, differences):
            axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("loss, nats per character")
    axes[1, 0].set_ylabel("charloom − edition")
    figure.savefig(path, dpi=130, metadata={"Software": None})
    pyplot.close(figure)


def curves(cell, way):
    """Yield run name, line style and label of a cell's runs in one panel."""
    yield f"{cell}-{way}", "-", f"{NAMES[cell]}, charloom"
    if way == "simple":
        other = next(name for name in STATES[cell] if not name.endswith("simple"))
        yield other, ":", f"{NAMES[cell]}, state {other.split('-')[1]}"
