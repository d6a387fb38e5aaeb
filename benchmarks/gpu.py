"""Training on a GPU: a step beside PyTorch's own layers (cuDNN's on an NVIDIA GPU), and what some seconds buy.

    PYTHONPATH=src python benchmarks/gpu.py --device cuda

It needs no compiled module. Peers take turns, round after round, in this process; each figure is the median of its
rounds. Then the default recipe on tiny Shakespeare for as long as `--seconds` says. A table, then one line of JSON.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import torch

import charloom
from charloom.training.backends.torch.device import choose_device
from machine import processor
from training import CASES, measure_step
from training_peers import charloom_peer, torch_peer

ROUNDS = 3


def peers(device):
    return {
        "charloom": charloom_peer("auto", device=device),
        "PyTorch's layers, bfloat16": torch_peer(True, device),
        "PyTorch's layers, float32": torch_peer(False, device),
    }


def stepping(device, cases):
    found = {}
    for case in cases:
        steps = {name: make(CASES[case]) for name, make in peers(device).items()}
        seconds = {name: [] for name in steps}
        for _ in range(ROUNDS):
            for name, step in steps.items():
                seconds[name].append(measure_step(step))
        found[case] = {name: statistics.median(rounds) for name, rounds in seconds.items()}
    return found


def losses_in_time(device, seconds):
    """Return the held-out losses of the default recipe on tiny Shakespeare, each with the seconds until then."""
    points = []
    with tempfile.TemporaryDirectory() as folder:
        charloom.train(
            "shakespeare",
            run=Path(folder) / "run",
            device=device,
            minutes=seconds / 60,
            watch=lambda record: points.append(record),
        )
    return [(r.seconds, r.val_loss) for r in points if hasattr(r, "val_loss") and hasattr(r, "is_best")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "mps", "cpu"))
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--case", choices=CASES, action="append", help="this case alone; may be given again")
    options = parser.parse_args()
    try:
        device = choose_device(options.device)
    except charloom.InputError as error:
        sys.exit(str(error))
    steps = stepping(options.device, options.case or CASES)
    points = losses_in_time(options.device, options.seconds)
    print(f"{device.description}, PyTorch {torch.__version__}\n")
    print(f"| ms a step | {' | '.join(peers(options.device))} |\n|---|{'---:|' * len(peers(options.device))}")
    for case, row in steps.items():
        print(f"| {case} | {' | '.join(f'{1000 * seconds:.2f}' for seconds in row.values())} |")
    print("\n| seconds | held-out loss |\n|---:|---:|")
    for seconds, loss in points:
        print(f"| {seconds:.1f} | {loss:.4f} |")
    print(json.dumps({
        "benchmark": "gpu", "device": device.description, "processor": processor(), "steps": steps, "losses": points,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
