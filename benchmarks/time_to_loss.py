"""Held-out loss over training time: charloom's default compared with PyTorch, nanoGPT and the tutorial in Keras.

    python benchmarks/time_to_loss.py --seconds 180 --rounds 3

On tiny Shakespeare, last tenth held out. Each peer trains in its own process, with another seed in each round.
charloom's seconds include evaluations; those of the other peers are training time only. Recurrent models read the
held-out text as one stream. nanoGPT is evaluated on windows of its context length, of which the second half is
counted. Prints a table of means, writes a figure (time_to_loss.png), then prints one JSON line.
"""

import argparse
import json
import statistics

from machine import processor
from round_robin import bind, compare
from time_to_loss_peers import PEERS


def final_loss(rounds):
    """Return the mean of the final losses."""
    return statistics.fmean(points[-1][1] for points in rounds)


def draw(results, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 5), layout="constrained")
    for index, (peer, rounds) in enumerate(results.items()):
        for number, points in enumerate(rounds):
            label = None if number else f"{peer}: {final_loss(rounds):.3f}"
            axes.plot(*zip(*points, strict=True), marker=".", linewidth=1, color=f"C{index}", label=label)
    axes.axhline(1.4697, color="grey", linestyle=":", label="nanoGPT's published 1.4697 (10.7 M parameters)")
    axes.set(
        xlabel="seconds of training",
        ylabel="held-out loss, nats per character",
        title="tiny Shakespeare",
        ylim=(1.35, 2.6),
    )
    figure.legend(loc="outside lower center", ncols=2)
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=75)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="seed of the first round")
    parser.add_argument("--peer", choices=PEERS, help="measure only this peer, in this process")
    parser.add_argument("--picture", default="time_to_loss.png")
    options = parser.parse_args()
    if options.peer:
        bind(options.threads)
        print(json.dumps(PEERS[options.peer](options.seconds, options.seed)))
        return
    results = {}
    for number in range(options.rounds):
        arguments = ["--seconds", str(options.seconds), "--threads", str(options.threads)]
        arguments += ["--seed", str(options.seed + number)]
        for peer, measured in compare(__file__, PEERS, arguments, options.threads, 1).items():
            results.setdefault(peer, []).extend(measured)
    print(f"| {'':28} | seconds | mean held-out loss | minimum | maximum |\n|---|---:|---:|---:|---:|")
    for peer, rounds in results.items():
        seconds, last = statistics.fmean(points[-1][0] for points in rounds), [points[-1][1] for points in rounds]
        print(f"| {peer:28} | {seconds:.0f} | {final_loss(rounds):.4f} | {min(last):.4f} | {max(last):.4f} |")
    draw(results, options.picture)
    print(json.dumps({"benchmark": "time_to_loss", "processor": processor(), "peers": results}))


if __name__ == "__main__":
    main()
