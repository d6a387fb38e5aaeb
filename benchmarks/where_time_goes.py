"""Time of each part of a training step, for GRUs of 512 and 1024 units.

    python benchmarks/where_time_goes.py        prints a table and a JSON line, writes docs/performance.png

Measured with PyTorch's profiler on 64 streams of 100 characters.
"""

import argparse
import json

from torch.profiler import ProfilerActivity, profile

from machine import processor
from training import CASES
from training_peers import charloom_peer

STEPS = 5
# part -> (name in the profile, whether to include the functions it calls)
PARTS = {
    "recurrent forward: state products and gates": ("_Window", False),
    "recurrent backward: state products and gates": ("_WindowBackward", False),
    "weight gradients": ("aten::mm", False),
    "output layer and loss, forward and backward": ("_LinearCrossEntropy", True),
    "optimizer": ("Optimizer.step#Adam.step", True),
}


def measure_parts(case):
    """Return the milliseconds of each part of a step, and of everything else."""
    step = charloom_peer("auto")(case)
    for _ in range(3):
        step()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(STEPS):
            step()
    events = {event.key: event for event in profiled.key_averages()}
    total = sum(event.self_cpu_time_total for event in events.values())
    results = {}
    for part, (key, include_calls) in PARTS.items():
        event = events[key]
        results[part] = event.cpu_time_total if include_calls else event.self_cpu_time_total
    results["weight gradients"] -= _loss_matrix_products(profiled)
    results["everything else"] = total - sum(results.values())
    return {part: microseconds / 1000 / STEPS for part, microseconds in results.items()}


def _loss_matrix_products(profiled):
    """Return the microseconds of matrix products within the loss, which belong to the output layer."""
    total = 0.0
    for event in profiled.events():
        parent = event.cpu_parent
        while parent is not None and parent.name != "_LinearCrossEntropy":
            parent = parent.cpu_parent
        if parent is not None and event.name == "aten::mm":
            total += event.self_cpu_time_total
    return total


def draw(results, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 3), layout="constrained")
    left = dict.fromkeys(results, 0.0)
    for part in (*PARTS, "everything else"):
        widths = [100 * parts[part] / sum(parts.values()) for parts in results.values()]
        axes.barh(list(results), widths, left=list(left.values()), label=part)
        left = {name: left[name] + width for name, width in zip(results, widths, strict=True)}
    axes.set(xlabel="share of a step, %", xlim=(0, 100))
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.25), ncols=2, frameon=False)
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", default="docs/performance.png")
    options = parser.parse_args()
    cases = {"512 units": CASES["GRU of 512"], "1024 units": CASES["the tutorial's GRU"]}
    results = {name: measure_parts(case) for name, case in cases.items()}
    print(f"| {'ms per step':46} | {' | '.join(results)} |\n|---|{'---:|' * len(results)}")
    for part in (*PARTS, "everything else"):
        print(f"| {part:46} | {' | '.join(f'{parts[part]:,.1f}' for parts in results.values())} |")
    print(f"| {'total':46} | {' | '.join(f'{sum(parts.values()):,.1f}' for parts in results.values())} |")
    draw(results, options.picture)
    print(json.dumps({"benchmark": "where_time_goes", "processor": processor(), "milliseconds": results}))


if __name__ == "__main__":
    main()
