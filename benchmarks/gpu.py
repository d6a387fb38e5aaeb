"""Training on a GPU: a step compared with PyTorch's layers (cuDNN on NVIDIA GPUs), and the loss after a given time.

    PYTHONPATH=src python benchmarks/gpu.py --device cuda

The compiled module is not needed. Peers take turns in this process; each figure is the median of its rounds. Then the
default recipe trains on tiny Shakespeare for `--seconds`. Prints tables, then one JSON line.
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


def step_seconds(device, cases):
    results = {}
    for case in cases:
        steps = {name: make(CASES[case]) for name, make in peers(device).items()}
        seconds = {name: [] for name in steps}
        for _ in range(ROUNDS):
            for name, step in steps.items():
                seconds[name].append(measure_step(step))
        results[case] = {name: statistics.median(rounds) for name, rounds in seconds.items()}
    return results


def losses_in_time(device, seconds):
    """Train the default recipe on tiny Shakespeare; return [(seconds, held-out loss), ...]."""
    records = []
    with tempfile.TemporaryDirectory() as folder:
        charloom.train(
            "shakespeare",
            run=Path(folder) / "run",
            device=device,
            minutes=seconds / 60,
            watch=lambda record: records.append(record),
        )
    return [(r.seconds, r.val_loss) for r in records if hasattr(r, "val_loss") and hasattr(r, "is_best")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "mps", "cpu"))
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--case", choices=CASES, action="append", help="measure only this case; may be repeated")
    options = parser.parse_args()
    try:
        device = choose_device(options.device)
    except charloom.InputError as error:
        sys.exit(str(error))
    steps = step_seconds(options.device, options.case or CASES)
    points = losses_in_time(options.device, options.seconds)
    print(f"{device.description}, PyTorch {torch.__version__}\n")
    print(f"| ms per step | {' | '.join(peers(options.device))} |\n|---|{'---:|' * len(peers(options.device))}")
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
