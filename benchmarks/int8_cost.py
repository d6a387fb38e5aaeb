"""What int8 costs: the held-out part of tiny Shakespeare, scored in float32 and in int8.

    python benchmarks/int8_cost.py [MODEL]...     the bundled model, if none is named

A line for each model, in bits per character, then one line of JSON.
"""

import json
import sys

import charloom
from charloom.inference.scoring import score


def main():
    held_out = charloom.Corpus.read("shakespeare").text[-111_540:]
    found = {}
    for name in sys.argv[1:] or ["shakespeare"]:
        model = charloom.load(name)
        bits = {
            precision: score(model.engine(precision), model.vocabulary, held_out).bits_per_char
            for precision in ("float32", "int8")
        }
        found[name] = {**bits, "cost": bits["int8"] - bits["float32"]}
        print(
            f"{name}: float32 {bits['float32']:.5f}, int8 {bits['int8']:.5f}, {found[name]['cost']:+.5f} bits per char"
        )
    print(json.dumps({"benchmark": "int8_cost", "characters": len(held_out), "models": found}))


if __name__ == "__main__":
    main()
