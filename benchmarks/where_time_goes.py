"""Where each millisecond of a training step goes, for GRUs of 512 and 1024 units.

    python benchmarks/where_time_goes.py        a table, docs/performance.png, and a line of JSON

PyTorch's profiler counts what each part takes of some steps on 64 streams and 100 characters.
"""

import argparse
import json

from torch.profiler import ProfilerActivity, profile

from machine import processor
from training import CASES
from training_peers import charloom_peer

STEPS = 5
# part: (its name in the profile, whether what it calls counts as its own)
PARTS = {
    "window forwards: state products and gates": ("_Window", False),
    "window backwards: state products and gates": ("_WindowBackward", False),
    "gradients of weights": ("aten::mm", False),
    "output layer and loss, forwards and backwards": ("_LinearCrossEntropy", True),
    "optimizer": ("Optimizer.step#Adam.step", True),
}


def parts_of(case):
    """Return the milliseconds of each part of a step, and of what is left."""
    step = charloom_peer("auto")(case)
    for _ in range(3):
        step()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(STEPS):
            step()
    events = {event.key: event for event in profiled.key_averages()}
    total = sum(event.self_cpu_time_total for event in events.values())
    found = {}
    for part, (key, with_calls) in PARTS.items():
        event = events[key]
        found[part] = event.cpu_time_total if with_calls else event.self_cpu_time_total
    found["gradients of weights"] -= _products_of_the_loss(profiled)
    found["everything else"] = total - sum(found.values())
    return {part: microseconds / 1000 / STEPS for part, microseconds in found.items()}


def _products_of_the_loss(profiled):
    """Return what products within the loss take, which are counted there."""
    total = 0.0
    for event in profiled.events():
        parent = event.cpu_parent
        while parent is not None and parent.name != "_LinearCrossEntropy":
            parent = parent.cpu_parent
        if parent is not None and event.name == "aten::mm":
            total += event.self_cpu_time_total
    return total


def picture(found, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 3), layout="constrained")
    left = dict.fromkeys(found, 0.0)
    for part in (*PARTS, "everything else"):
        widths = [100 * parts[part] / sum(parts.values()) for parts in found.values()]
        axes.barh(list(found), widths, left=list(left.values()), label=part)
        left = {name: left[name] + width for name, width in zip(found, widths, strict=True)}
    axes.set(xlabel="share of a step, %", xlim=(0, 100))
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.25), ncols=2, frameon=False)
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", default="docs/performance.png")
    options = parser.parse_args()
    cases = {"512 units": CASES["GRU of 512"], "1024 units": CASES["the tutorial's GRU"]}
    found = {name: parts_of(case) for name, case in cases.items()}
    print(f"| {'ms a step':46} | {' | '.join(found)} |\n|---|{'---:|' * len(found)}")
    for part in (*PARTS, "everything else"):
        print(f"| {part:46} | {' | '.join(f'{parts[part]:,.1f}' for parts in found.values())} |")
    print(f"| {'all':46} | {' | '.join(f'{sum(parts.values()):,.1f}' for parts in found.values())} |")
    picture(found, options.picture)
    print(json.dumps({"benchmark": "where_time_goes", "processor": processor(), "milliseconds": found}))


if __name__ == "__main__":
    main()
