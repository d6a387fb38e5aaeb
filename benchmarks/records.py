"""Models of records on four sets: how many generated records end by themselves, and how long they are.

    python benchmarks/records.py FOLDER [--minutes 3] [--samples 500]

FOLDER contains the unpacked packages: `fortunes/` (the text files of Debian's packages fortunes and fortunes-min),
`ryansMammoth/` (the folder of that name of the PyPI package music21, one ABC tune per file), and `devil.dict.dz` and
`devil.index` (from Debian's package dict-devil). The script itself writes the fourth set, a chat export. Each set is
trained with `charloom train --minutes`; then records are generated at two temperatures, with a maximum length of twice
the longest original. A record that ends before the maximum length ended by itself. Prints one JSON line per set.
"""

import argparse
import gzip
import json
import random
import statistics
import string
import subprocess
import sys
import time
from pathlib import Path

import charloom
from charloom.inference.generation import Request
from charloom.inference.generation_options import Sampling
from machine import processor

BATCH = 100  # samples generated at once
TEMPERATURES = (0.8, 1.0)
DIGITS = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"  # of the numbers in a dictd index


def write_fortunes(folder, target):
    """Join the fortune files; their records are separated by lines with a percent sign."""
    files = sorted(path for path in (folder / "fortunes").iterdir() if path.is_file() and not path.suffix)
    target.write_bytes(b"".join(path.read_bytes() for path in files))


def write_devil(folder, target):
    """Extract the entries of a dictionary in dictd's format."""
    data = gzip.decompress((folder / "devil.dict.dz").read_bytes())
    entries = set()
    for line in (folder / "devil.index").read_text(encoding="utf-8").splitlines():
        word, *place = line.split("\t")
        if not word.startswith("00"):  # entries about the dictionary itself
            entries.add(tuple(number(digits) for digits in place))
    texts = [data[start : start + length].decode("utf-8").strip() for start, length in sorted(entries)]
    target.write_text("\n%\n".join(texts) + "\n", encoding="utf-8")


def number(digits):
    """Convert a number of a dictd index, in base 64, to an integer."""
    value = 0
    for digit in digits:
        value = 64 * value + DIGITS.index(digit)
    return value


def write_chat(_folder, target, conversations=4000):
    """Write a chat export in which blank lines separate conversations of two people about meeting."""
    rng = random.Random(0)
    people = ("Ada", "Ben", "Cleo", "Dan", "Eve", "Finn")
    places = ("the cafe", "the station", "the library", "my place", "the park", "the cinema")
    days = ("today", "tomorrow", "on Friday", "on Sunday", "next week")
    yes = ("Yes, gladly!", "Sure.", "OK, see you there.", "That works for me :)", "Why not?")
    no = ("Sorry, I can't {day}.", "I have to work {day}.", "No, I'm ill.", "Not {day}, maybe another time?")
    texts = []
    for _ in range(conversations):
        first, second = rng.sample(people, 2)
        day, minute = rng.choice(days), rng.randrange(24 * 60 - 60)
        turns = [(first, f"Hi {second}, shall we meet at {rng.choice(places)} {day}?")]
        for _ in range(rng.randrange(4)):
            agrees = rng.random() < 0.6
            turns.append((second, rng.choice(yes if agrees else no).format(day=day)))
            if agrees:
                turns.append((first, rng.choice(("Great!", "At six?", "Bring a book.", "See you."))))
            else:
                day = rng.choice(days)
                turns.append((first, f"And {day}?"))
        lines = []
        for who, text in turns:
            minute += rng.randrange(5)
            lines.append(f"{minute // 60:02}:{minute % 60:02} - {who}: {text}")
        texts.append("\n".join(lines))
    target.write_text("\n\n".join(texts) + "\n", encoding="utf-8")


SETS = {
    "fortunes": (write_fortunes, "%"),
    "tunes": (None, "file"),
    "dictionary": (write_devil, "%"),
    "chat": (write_chat, "blank"),
}


def quartiles(lengths):
    """Return the lower quartile, the median and the upper quartile."""
    return [round(value) for value in statistics.quantiles(lengths, n=4)]


def generate(model, limit, temperature, samples):
    """Generate records, and return the fraction that end by themselves and the quartiles of their lengths."""
    began = time.perf_counter()
    lengths, ended = [], 0
    for first in range(0, samples, BATCH):
        texts = dict.fromkeys(range(BATCH), "")
        request = Request(length=limit, sampling=Sampling(temperature), seed=first, samples=BATCH)
        for piece in model.pieces(request):
            texts[piece.sample] += piece.text
            ended += piece.finish_reason == "stop"
        lengths += map(len, texts.values())
    return {
        "temperature": temperature,
        "samples": samples,
        "ended": ended / samples,
        "lengths": quartiles(lengths),
        "seconds": time.perf_counter() - began,
    }


def measure(name, folder, work, minutes, samples):
    """Train on one set and generate records."""
    write, separator = SETS[name]
    text = folder / "ryansMammoth" if write is None else work / f"{name}.txt"
    if write is not None:
        write(folder, text)
    corpus = charloom.Corpus.read(text, text_format=charloom.TextFormat(records=separator))
    originals = corpus.records[0].lengths
    run = work / name
    began = time.perf_counter()
    command = [sys.executable, "-m", "charloom", "train", str(text), "--records", separator, "-o", str(run)]
    done = subprocess.run(
        [*command, "--minutes", str(minutes), "--json", "-q"], stdout=subprocess.PIPE, text=True, check=True
    )
    train_seconds = time.perf_counter() - began
    model, finish = charloom.load(run), json.loads(done.stdout)
    return {
        "set": name,
        "records": len(originals),
        "characters": int(originals.sum()),
        "bits_per_char": finish["best_val_loss"] / 0.6931471805599453,
        "original_lengths": quartiles(originals.tolist()),
        "generated": [generate(model, 2 * int(originals.max()), t, samples) for t in TEMPERATURES],
        "train_seconds": train_seconds,
        "minutes": minutes,
        "processor": processor(),
    }


def main():
    """Measure all sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--work", type=Path, default=Path("records-benchmark"))
    parser.add_argument("--only", choices=SETS)
    arguments = parser.parse_args()
    arguments.work.mkdir(exist_ok=True)
    for name in SETS if arguments.only is None else [arguments.only]:
        print(json.dumps(measure(name, arguments.folder, arguments.work, arguments.minutes, arguments.samples)))


if __name__ == "__main__":
    main()
