"""Speed of encoding text to ids: charloom's vocabulary compared with the tutorial's list comprehension over a dict.

    python benchmarks/encoding.py

Both encode the same text in turn, in one process. Prints medians and their ratio for ASCII, Russian, Chinese and a
text with emoji, then one JSON line. The texts come from the folder CHARLOOM_CORPORA if it is set; otherwise they are
generated from the same alphabets.
"""

import json
import os
import statistics
import time
from pathlib import Path

import numpy as np

from charloom import Vocabulary

ROUNDS = 15
LENGTH = 1_000_000


def main():
    rows = {name: measure(text) for name, text in texts().items()}
    print("text       alphabet   dict, ms  array, ms  charloom, ms   ratio  to array")
    for name, row in rows.items():
        print(
            f"{name:<10} {row['distinct']:>8,} {row['list_ms']:>10.1f} {row['array_ms']:>10.1f} "
            f"{row['charloom_ms']:>13.2f} {row['ratio']:>7.1f} {row['ratio_to_array']:>9.1f}"
        )
    print(json.dumps({"benchmark": "encoding", "characters": LENGTH, "rounds": ROUNDS, "texts": rows}))


def measure(text):
    """Return median times over rounds in which both methods encode the text in turn."""
    vocabulary = Vocabulary.from_text(text)
    char_to_id = {character: i for i, character in enumerate(vocabulary.characters)}
    vocabulary.encode(text)  # builds the tables, once per vocabulary like the dict
    seconds = {"list": [], "array": [], "charloom": []}
    for _ in range(ROUNDS):
        began = time.perf_counter()
        ids = [char_to_id[c] for c in text]
        seconds["list"].append(time.perf_counter() - began)
        array = np.array(ids)
        seconds["array"].append(time.perf_counter() - began)
        began = time.perf_counter()
        ours = vocabulary.encode(text)
        seconds["charloom"].append(time.perf_counter() - began)
        assert (ours == array).all()
    medians = {name: statistics.median(values) * 1000 for name, values in seconds.items()}
    return {
        "distinct": len(vocabulary),
        **{f"{name}_ms": round(value, 3) for name, value in medians.items()},
        "ratio": round(medians["list"] / medians["charloom"], 1),
        "ratio_to_array": round(medians["array"] / medians["charloom"], 1),
    }


def texts():
    """Return texts of one million characters, one per alphabet."""
    sources = {
        "ascii": corpus("shakespeare.txt") or generated(range(32, 97)),
        "russian": corpus("anna_karenina_ru.txt") or generated([10, 32, *range(0x410, 0x450)]),
        "chinese": corpus("tang_poems.txt") or generated(range(0x4E00, 0x4E00 + 5387)),
        "emoji": generated([*range(32, 127), *range(0x1F600, 0x1F640)]),
    }
    return {name: (text * (LENGTH // len(text) + 1))[:LENGTH] for name, text in sources.items()}


def corpus(name):
    path = Path(os.environ.get("CHARLOOM_CORPORA", "")) / name
    return path.read_text(encoding="utf-8") if path.is_file() else None


def generated(code_points):
    """Return a random text with Zipf-distributed characters, as in a language."""
    alphabet = np.array(list(code_points))
    indices = np.random.default_rng(0).zipf(1.5, LENGTH) % len(alphabet)
    return "".join(map(chr, alphabet[indices]))


if __name__ == "__main__":
    main()
