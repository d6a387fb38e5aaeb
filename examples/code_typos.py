"""Slips of the finger in code: a model that has read Python finds two letters that changed places, and puts them back.

    python examples/code_typos.py

The data are the modules of Python's standard library, as they lie on every machine that runs it: 30,000 different lines
to learn from, and others, of other modules, in which typos are planted: in each page of 40 lines one pair of
neighbouring letters of one word has changed places, as in "retrun". Nothing is compiled and no word list is used.

For every pair of neighbouring letters of a page the model says how many bits a line would cost less with the two the
other way round. The pair that saves most is what it would correct. A line that is merely rare costs many bits either
way; a slip is one that costs many and need not.

What comes out: corrections it proposes, and how many of the planted slips it found and put right, beside how many lines
would be found if the line that costs most per character were taken, and by chance. A minute of training.
"""

import argparse
import random
import re
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

import charloom

LINES, PAGES, PAGE, SHOWN = 30_000, 40, 40, 8  # to learn from; with a slip each; lines of one; printed
HELD_OUT = 5  # of so many modules one is not learned from


def read_lines(modules: Sequence[Path]) -> list[str]:
    """Return the lines of modules, in plain ASCII, of 8 to 100 characters, each once, in their order."""
    found: dict[str, None] = {}
    for path in modules:
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.isascii() and line.isprintable() and len(line.strip()) >= 8 and len(line) <= 100:
                found[line] = None
    return list(found)


def make_data(seed: int) -> tuple[list[str], list[str]]:
    """Return lines to learn from, and lines of other modules that are none of these."""
    modules = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    random.Random(seed).shuffle(modules)
    known = read_lines(modules[len(modules) // HELD_OUT :])[:LINES]
    return known, sorted(set(read_lines(modules[: len(modules) // HELD_OUT])) - set(known))


def swaps(line: str) -> Iterator[str]:
    """Yield a line with two neighbouring letters of a word the other way round, for each such pair that differs."""
    for match in re.finditer(r"(?=([A-Za-z])([A-Za-z]))", line):
        if match[1] != match[2]:
            at = match.start()
            yield line[:at] + match[2] + match[1] + line[at + 2 :]


def plant(lines: Sequence[str], rng: random.Random) -> tuple[list[str], int]:
    """Return a page with one slip, and in which line it is.

    Args:
        lines: The page; at least one line has two different letters side by side.
        rng: Chooses the line and the pair.
    """
    able = [i for i, line in enumerate(lines) if next(swaps(line), None)]
    at = rng.choice(able)
    return [*lines[:at], rng.choice(list(swaps(lines[at]))), *lines[at + 1 :]], at


def costs(model: charloom.Model, lines: Sequence[str]) -> list[float]:
    """Return what each line costs, in bits."""
    return [one.bits_per_char * one.characters for one in model.score_many(lines, precision="int8")]


def correct(model: charloom.Model, page: Sequence[str]) -> tuple[int, str, float]:
    """Return the line that a swap makes cheaper by most, what it becomes, and how many bits that saves."""
    tried = [(i, swapped) for i, line in enumerate(page) for swapped in swaps(line)]
    before, after = costs(model, page), costs(model, [swapped for _, swapped in tried])
    saved = [before[i] - bits for (i, _), bits in zip(tried, after, strict=True)]
    best = max(range(len(tried)), key=saved.__getitem__)
    return *tried[best], saved[best]


def run(minutes: float, seed: int) -> None:
    """Train, and correct pages."""
    rng = random.Random(seed)
    known, others = make_data(seed)
    corpus = charloom.Corpus("\n".join(known), "code", text_format=charloom.TextFormat(lines=True))
    model = charloom.train(corpus, minutes=minutes, seed=seed)
    others = [line for line in others if not model.vocabulary.unknown(line)]
    found = right = dearest = 0
    for number in range(PAGES):
        page = rng.sample(others, PAGE)
        slipped, at = plant(page, rng)
        line, proposed, bits = correct(model, slipped)
        means = [bits / len(text) for bits, text in zip(costs(model, slipped), slipped, strict=True)]
        dearest += means.index(max(means)) == at
        found += line == at
        right += proposed == page[line]
        if number < SHOWN:
            mark = "right" if line == at and proposed == page[line] else "wrong"
            print(f"{mark}  saves {bits:4.1f} bits  {slipped[line].strip()}\n{'':21}{proposed.strip()}")
    print(f"found: {found / PAGES:.1%} of {PAGES} slips, {right / PAGES:.1%} put right")
    print(f"the line that costs most per character: {dearest / PAGES:.1%}; by chance {1 / PAGE:.1%}")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="Slips of the finger in Python code.")
    parser.add_argument("--minutes", type=float, default=1.0, help="of training (default: 1)")
    parser.add_argument("--seed", type=int, default=1, help="of pages and training (default: 1)")
    options = parser.parse_args()
    try:
        charloom.Settings(minutes=options.minutes, seed=options.seed)  # refused before the data are made
        run(options.minutes, options.seed)
    except charloom.CharloomError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
