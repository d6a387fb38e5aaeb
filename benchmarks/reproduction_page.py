"""The page and the picture that `reproduce.py` makes of what it measured."""

from matplotlib import pyplot

EDITIONS = {
    "gru-simple": [2.6663, 1.9452, 1.6797, 1.5355, 1.4493, 1.3900, 1.3457, 1.3076, 1.2732, 1.2412],
    "gru-open": [2.1603, 1.7417, 1.5520, 1.4920, 1.4171, 1.3818, 1.3983, 1.3120, 1.3266, 1.2733],
    "lstm-simple": [2.7052, 2.0039, 1.7375, 1.5772, 1.4772, 1.4087, 1.3556, 1.3095, 1.2671, 1.2276],
    "lstm-open": [2.0831, 1.7348, 1.5668, 1.4673, 1.3992, 1.3441, 1.2969, 1.2502, 1.2074, 1.1558],
}
"""What the tutorial's two editions report: the mean over the epoch, or in the open way its last batch."""

UNTRAINED = {"gru": 4.1737, "lstm": 4.1742}
RESET_EDITION = 1.2074  # an edition that resets the state at every window, its tenth epoch
NAMES = {"gru": "GRU", "lstm": "LSTM"}
SIMPLE_LIMIT, LAST_LIMIT, OPEN_LIMIT = 0.03, 0.02, 0.1


def write_page(facts, folder):
    """Write reproduction.md and reproduction.png.

    Args:
        facts: What reproduction.json holds.
        folder: Where to.
    """
    draw(facts["runs"], folder / "reproduction.png")
    (folder / "reproduction.md").write_text(page(facts), encoding="utf-8")


def page(facts):
    """Return the page as Markdown."""
    return "\n\n".join([*opening(facts), *simple_way(facts), *reset(facts), *open_way(facts), *written(facts)]) + "\n"


def opening(facts):
    machine, corpus = facts["machine"], facts["corpus"]
    yield "# Both editions of the tutorial, trained again"
    yield (
        'TensorFlow\'s tutorial "Text generation with an RNN" has two editions, one with a GRU and one with an LSTM, '
        "and each reports the losses of its training: ten epochs the simple way (`fit`), ten the open way (a loop of "
        "one's own). These are charloom's beside them. `make reproduce` trains all of it again and writes this page, "
        "its numbers ([reproduction.json](reproduction.json)) and its picture."
    )
    yield (
        f"Trained on {machine['threads']} cores of an {machine['processor']}, {machine['precision']}, PyTorch "
        f"{machine['torch']}, Python {machine['python']}, charloom {machine['charloom']}, {machine['date']}; one run "
        "each, seed 0. Losses are in nats per character, on the text learned from: the tutorial holds nothing out."
    )
    yield "![Losses of each epoch, the editions' and charloom's](reproduction.png)"
    yield "## The same text, windows and models"
    first = corpus["first_ids"]
    rows = [
        ("characters", "1,115,394", f"{corpus['characters']:,}"),
        ("distinct characters", "65", corpus["distinct"]),
        (f"ids of `{first['text']}`", "18 47 56 57 58 1 15 47 58 47 64 43 52", " ".join(map(str, first["ids"]))),
        ("windows of 101 characters", "11,043", f"{corpus['windows']:,}"),
        ("batches an epoch", "172", corpus["batches"]),
        ("shape of a batch: inputs, targets", "(64, 100), (64, 100)", shapes(corpus)),
        ("shape of the logits", "(64, 100, 65)", tuple(facts["untrained"]["gru"]["logits_shape"])),
        ("parameters, GRU", "4,021,569", f"{facts['untrained']['gru']['parameters']:,}"),
        ("parameters, LSTM", "5,330,241", f"{facts['untrained']['lstm']['parameters']:,}"),
        *(
            (f"loss untrained, {NAMES[cell]}", f"{UNTRAINED[cell]:.4f}", f"{facts['untrained'][cell]['loss']:.4f}")
            for cell in NAMES
        ),
    ]
    yield table(("", "tutorial", "charloom"), rows)


def shapes(corpus):
    return f"{tuple(corpus['inputs_shape'])}, {tuple(corpus['targets_shape'])}"


def simple_way(facts):
    yield "## The simple way: the mean loss of each epoch"
    yield (
        "The windows are shuffled, and yet the state is carried from each batch into the next and never reset: what "
        "the editions do. `charloom train shakespeare --recipe tutorial-gru` (or `tutorial-lstm`) does the same."
    )
    rows = []
    for i in range(10):
        row = [i + 1]
        for cell in NAMES:
            theirs, ours = EDITIONS[f"{cell}-simple"][i], facts["runs"][f"{cell}-simple"]["epochs"][i]
            row += [f"{theirs:.4f}", f"{ours:.4f}", f"{ours - theirs:+.4f}"]
        rows.append(row)
    heads = [f"{NAMES[cell]}, {what}" for cell in NAMES for what in ("edition", "charloom", "difference")]
    yield table(["epoch", *heads], rows)
    for cell in NAMES:
        differences = simple_differences(facts, cell)
        furthest = max(differences[1:], key=abs)
        yield (
            f"{NAMES[cell]}: in epochs 2 to 10 the furthest apart is {furthest:+.4f} (wanted: within "
            f"{SIMPLE_LIMIT}), in epoch 10 it is {differences[-1]:+.4f} (wanted: within {LAST_LIMIT})."
        )
    gru, lstm = (per_epoch(facts, f"{cell}-simple") for cell in NAMES)
    yield f"An epoch took {gru} s with the GRU and {lstm} s with the LSTM (median)."


def simple_differences(facts, cell):
    name = f"{cell}-simple"
    return [ours - theirs for ours, theirs in zip(facts["runs"][name]["epochs"], EDITIONS[name], strict=True)]


def per_epoch(facts, name):
    seconds = sorted(facts["runs"][name]["seconds"])
    return f"{seconds[len(seconds) // 2]:.0f}"


def reset(facts):
    ours, carried = facts["runs"]["gru-reset"]["epochs"], facts["runs"]["gru-simple"]["epochs"]
    yield "## The quirk is really there: the state reset at every window"
    yield (
        f"The same GRU, the same windows in the same order, but every window starts from the zero state "
        f"(`{facts['runs']['gru-reset']['command']}`). An edition that does so reports {RESET_EDITION} for its "
        "tenth epoch."
    )
    rows = [
        (i + 1, f"{a:.4f}", f"{b:.4f}", f"{b - a:+.4f}") for i, (a, b) in enumerate(zip(carried, ours, strict=False))
    ]
    yield table(("epoch", "carried", "reset", "difference"), rows)


def open_way(facts):
    yield "## The open way: the loss of each epoch's last batch"
    yield (
        "A loop of one's own ([examples/open_loop.py](../examples/open_loop.py)): the state goes back to zero at "
        "the start of every epoch. One batch is a noisy figure, so the mean of the epoch, which the editions do not "
        "report, stands beside it."
    )
    rows = []
    for i in range(10):
        row = [i + 1]
        for cell in NAMES:
            run = facts["runs"][f"{cell}-open"]
            theirs, ours = EDITIONS[f"{cell}-open"][i], run["epochs"][i]
            row += [f"{theirs:.4f}", f"{ours:.4f}", f"{ours - theirs:+.4f}", f"{run['means'][i]:.4f}"]
        rows.append(row)
    heads = [f"{NAMES[cell]}, {what}" for cell in NAMES for what in ("edition", "charloom", "difference", "mean")]
    yield table(["epoch", *heads], rows)
    for cell in NAMES:
        run = facts["runs"][f"{cell}-open"]
        differences = [a - b for a, b in zip(run["epochs"], EDITIONS[f"{cell}-open"], strict=True)]
        yield (
            f"{NAMES[cell]}: the furthest apart is {max(differences, key=abs):+.4f} (wanted: within {OPEN_LIMIT}). "
            f"Batches 0 and 100 lost {run['batch_0'][0]:.4f} and {run['batch_100'][0]:.4f} in epoch 1, "
            f"{run['batch_0'][-1]:.4f} and {run['batch_100'][-1]:.4f} in epoch 10."
        )


def written(facts):
    yield "## What they write"
    yield (
        "The models of the simple way. Taking the likeliest character each time (temperature 0) ends in a loop; "
        "drawing does not. Looked for in 1,000 characters after `ROMEO: `:"
    )
    rows = []
    for cell in NAMES:
        for how, found in facts["greedy"][cell].items():
            loop = found["loop"]
            said = f"from character {loop[0]} on, {loop[1]} characters long" if loop else "none"
            rows.append((NAMES[cell], how, said))
    yield table(("model", "characters", "loop"), rows)
    for cell in NAMES:
        yield f"### {NAMES[cell]}, likeliest characters"
        yield fenced(facts["greedy"][cell]["greedy"]["text"])
        for sample in facts["samples"][cell]:
            yield f"### {NAMES[cell]}, from `{sample['prompt']}`, temperature {sample['temperature']}"
            yield fenced(sample["text"])


def table(heads, rows):
    lines = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in (heads, ["---"] * len(heads), *rows)]
    return "\n".join(lines)


def fenced(text):
    return f"```text\n{text}\n```"


def draw(runs, path):
    """Draw the losses of the simple way, the reset run and the open way beside the editions'."""
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
    epochs = range(1, 11)
    for axis, way, title in zip(
        axes, ("simple", "open"), ("mean of the epoch", "last batch of the epoch"), strict=True
    ):
        for cell, colour in (("gru", "tab:blue"), ("lstm", "tab:orange")):
            axis.plot(epochs, EDITIONS[f"{cell}-{way}"], "o", mfc="none", color=colour, label=f"{NAMES[cell]}, edition")
            axis.plot(epochs, runs[f"{cell}-{way}"]["epochs"], color=colour, label=f"{NAMES[cell]}, charloom")
        axis.set(title=f"The {way} way: {title}", xlabel="epoch", xticks=epochs)
        axis.grid(alpha=0.3)
    reset = runs["gru-reset"]["epochs"]
    axes[0].plot(range(1, len(reset) + 1), reset, ":", color="tab:green", label="GRU, state reset at every window")
    axes[0].plot([10], [RESET_EDITION], "s", mfc="none", color="tab:green", label="the same, an edition's")
    axes[0].set_ylabel("loss, nats per character")
    for axis in axes:
        axis.legend()
    figure.savefig(path, dpi=130, metadata={"Software": None})
    pyplot.close(figure)
