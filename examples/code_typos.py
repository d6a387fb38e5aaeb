"""Find and correct typos in code: a model that was trained on Python finds two swapped letters and swaps them back.

    python examples/code_typos.py

The data are the modules of Python's standard library: 30,000 distinct lines to train on. Lines of other modules are
the test pages. Each page has 40 lines and one typo: two neighboring letters of a word are swapped, as in "retrun".
Nothing is compiled and no word list is used.

For every pair of neighboring letters, the script computes how many bits of surprisal the line would save if the
letters were swapped. The pair that saves most is the correction. A line that is merely rare has a high surprisal
either way; a typo is a line whose surprisal drops.

Output: proposed corrections, and how many typos were found and corrected, compared with choosing the line with the
most bits per character, and with chance. Trains for a minute.
"""

import argparse
import random
import re
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

import charloom

LINES, PAGES, PAGE, SHOWN = 30_000, 40, 40, 8  # training lines; pages with one typo; lines per page; printed
HELD_OUT = 5  # one of so many modules is held out


def read_lines(modules: Sequence[Path]) -> list[str]:
    """Return the distinct ASCII lines of modules with 8 to 100 characters, in order."""
    lines: dict[str, None] = {}
    for path in modules:
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.isascii() and line.isprintable() and len(line.strip()) >= 8 and len(line) <= 100:
                lines[line] = None
    return list(lines)


def make_data(seed: int) -> tuple[list[str], list[str]]:
    """Return training lines, and lines of held-out modules that do not occur among them."""
    modules = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    random.Random(seed).shuffle(modules)
    known = read_lines(modules[len(modules) // HELD_OUT :])[:LINES]
    return known, sorted(set(read_lines(modules[: len(modules) // HELD_OUT])) - set(known))


def swaps(line: str) -> Iterator[str]:
    """Yield the line with two different neighboring letters swapped, for each such pair."""
    for match in re.finditer(r"(?=([A-Za-z])([A-Za-z]))", line):
        if match[1] != match[2]:
            at = match.start()
            yield line[:at] + match[2] + match[1] + line[at + 2 :]


def plant(lines: Sequence[str], rng: random.Random) -> tuple[list[str], int]:
    """Return a page with one typo, and the index of its line.

    Args:
        lines: The page; at least one line has two different letters next to each other.
        rng: Chooses the line and the pair.
    """
    candidates = [i for i, line in enumerate(lines) if next(swaps(line), None)]
    at = rng.choice(candidates)
    return [*lines[:at], rng.choice(list(swaps(lines[at]))), *lines[at + 1 :]], at


def line_bits(model: charloom.Model, lines: Sequence[str]) -> list[float]:
    """Return the surprisal of each line in bits."""
    return [score.bits_per_char * score.characters for score in model.score_many(lines, precision="int8")]


def correct(model: charloom.Model, page: Sequence[str]) -> tuple[int, str, float]:
    """Return the index of the line whose swap saves the most bits, the corrected line, and the bits saved."""
    candidates = [(i, swapped) for i, line in enumerate(page) for swapped in swaps(line)]
    before, after = line_bits(model, page), line_bits(model, [swapped for _, swapped in candidates])
    saved = [before[i] - bits for (i, _), bits in zip(candidates, after, strict=True)]
    best = max(range(len(candidates)), key=saved.__getitem__)
    return *candidates[best], saved[best]


def run(minutes: float, seed: int) -> None:
    """Train and correct pages."""
    rng = random.Random(seed)
    known, held_out = make_data(seed)
    corpus = charloom.Corpus("\n".join(known), "code", text_format=charloom.TextFormat(lines=True))
    model = charloom.train(corpus, minutes=minutes, seed=seed)
    held_out = [line for line in held_out if not model.vocabulary.unknown(line)]
    found = corrected = baseline = 0
    for number in range(PAGES):
        page = rng.sample(held_out, PAGE)
        with_typo, at = plant(page, rng)
        line, proposed, bits = correct(model, with_typo)
        means = [bits / len(text) for bits, text in zip(line_bits(model, with_typo), with_typo, strict=True)]
        baseline += means.index(max(means)) == at
        found += line == at
        corrected += proposed == page[line]
        if number < SHOWN:
            mark = "right" if line == at and proposed == page[line] else "wrong"
            print(f"{mark}  saves {bits:4.1f} bits  {with_typo[line].strip()}\n{'':21}{proposed.strip()}")
    print(f"found: {found / PAGES:.1%} of {PAGES} typos, {corrected / PAGES:.1%} corrected")
    print(f"line with the most bits per character: {baseline / PAGES:.1%}; by chance {1 / PAGE:.1%}")


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description="Find and correct typos in Python code.")
    parser.add_argument("--minutes", type=float, default=1.0, help="training time (default: 1)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the pages and training (default: 1)")
    options = parser.parse_args()
    try:
        charloom.Settings(
            minutes=options.minutes, seed=options.seed
        )  # rejects bad values before the data are generated
        run(options.minutes, options.seed)
    except charloom.CharloomError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
