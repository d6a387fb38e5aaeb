"""Cost of int8 in bits per character: the held-out part of tiny Shakespeare, scored in float32 and in int8.

    python benchmarks/int8_cost.py [MODEL]...     the default is the bundled model

Prints one line per model, then one JSON line.
"""

import json
import sys

import charloom
from charloom.inference.scoring import score


def main():
    held_out = charloom.Corpus.read("shakespeare").text[-111_540:]
    results = {}
    for name in sys.argv[1:] or ["shakespeare"]:
        model = charloom.load(name)
        bits = {
            precision: score(model.engine(precision), model.vocabulary, held_out).bits_per_char
            for precision in ("float32", "int8")
        }
        cost = bits["int8"] - bits["float32"]
        results[name] = {**bits, "cost": cost}
        print(f"{name}: float32 {bits['float32']:.5f}, int8 {bits['int8']:.5f}, {cost:+.5f} bits per char")
    print(json.dumps({"benchmark": "int8_cost", "characters": len(held_out), "models": results}))


if __name__ == "__main__":
    main()
