"""What some minutes of training buy: held-out loss against time, for charloom's default and what else one might use.

    python benchmarks/time_to_loss.py --seconds 180 --rounds 3

On tiny Shakespeare, its last tenth held out; each peer trains alone in a process of its own, with another seed in every
round. charloom's seconds are all of them, the evaluations' among them; of the others those of training alone. Recurrent
models read the held-out text as one stream; nanoGPT's is judged with as much context as it has, in windows half of
which are counted. A table of means, a picture (time_to_loss.png), then one line of JSON.
"""

import argparse
import json
import statistics

from in_turn import bind, compare
from machine import processor
from time_to_loss_peers import PEERS


def ending(rounds):
    """Return the mean of the last losses."""
    return statistics.fmean(points[-1][1] for points in rounds)


def picture(found, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 5), layout="constrained")
    for index, (peer, rounds) in enumerate(found.items()):
        for number, points in enumerate(rounds):
            label = None if number else f"{peer}: {ending(rounds):.3f}"
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
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    parser.add_argument("--peer", choices=PEERS, help="measure this one alone, in this process")
    parser.add_argument("--picture", default="time_to_loss.png")
    options = parser.parse_args()
    if options.peer:
        bind(options.threads)
        print(json.dumps(PEERS[options.peer](options.seconds, options.seed)))
        return
    found = {}
    for number in range(options.rounds):
        arguments = ["--seconds", str(options.seconds), "--threads", str(options.threads)]
        arguments += ["--seed", str(options.seed + number)]
        for peer, measured in compare(__file__, PEERS, arguments, options.threads, 1).items():
            found.setdefault(peer, []).extend(measured)
    print(f"| {'':28} | seconds | held-out loss | from | to |\n|---|---:|---:|---:|---:|")
    for peer, rounds in found.items():
        seconds, last = statistics.fmean(points[-1][0] for points in rounds), [points[-1][1] for points in rounds]
        print(f"| {peer:28} | {seconds:.0f} | {ending(rounds):.4f} | {min(last):.4f} | {max(last):.4f} |")
    picture(found, options.picture)
    print(json.dumps({"benchmark": "time_to_loss", "processor": processor(), "peers": found}))


if __name__ == "__main__":
    main()
