"""What some minutes of training buy: held-out loss against time, for charloom's default and what else one might use.

    python benchmarks/time_to_loss.py --seconds 75

On tiny Shakespeare, its last tenth held out; each peer trains alone in a process of its own, the time of evaluations
is not counted. Recurrent models read the held-out text as one stream; nanoGPT's is judged with as much context as it
has, in windows half of which are counted. A table, a picture (time_to_loss.png), then one line of JSON.
"""

import argparse
import json

from in_turn import bind, compare
from machine import processor
from time_to_loss_peers import PEERS


def picture(found, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for peer, points in found.items():
        axes.plot(*zip(*points, strict=True), marker="o", label=f"{peer}: {points[-1][1]:.3f}")
    axes.axhline(1.4697, color="grey", linestyle=":", label="nanoGPT's published 1.4697 (10.7 M parameters)")
    axes.set(xlabel="seconds of training", ylabel="held-out loss, nats per character", title="tiny Shakespeare")
    axes.legend()
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=75)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peer", choices=PEERS, help="measure this one alone, in this process")
    parser.add_argument("--picture", default="time_to_loss.png")
    options = parser.parse_args()
    if options.peer:
        bind(options.threads)
        print(json.dumps(PEERS[options.peer](options.seconds)))
        return
    arguments = ["--seconds", str(options.seconds), "--threads", str(options.threads)]
    measured = compare(__file__, PEERS, arguments, options.threads, 1)
    found = {peer: rounds[0] for peer, rounds in measured.items()}
    print(f"| {'':28} | seconds | held-out loss | lowest |\n|---|---:|---:|---:|")
    for peer, points in found.items():
        print(f"| {peer:28} | {points[-1][0]:.0f} | {points[-1][1]:.4f} | {min(p[1] for p in points):.4f} |")
    picture(found, options.picture)
    print(json.dumps({"benchmark": "time_to_loss", "processor": processor(), "peers": found}))


if __name__ == "__main__":
    main()
