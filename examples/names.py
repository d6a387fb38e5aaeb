"""New names for a story: a model learns how three peoples name their children, and names more of them.

    python examples/names.py

The data are made here: 1,500 names of each people, less those that came twice. Each people has its own sounds and its
own endings. A line is a people and a name, so that one model knows all three, and a prompt says whose name is wanted.
Names that are in the data are thrown away; of the rest the model itself says which are the most typical: those whose
letters cost it the fewest bits.

What comes out: names for each people, how many of all that were written are new, and how many of the new keep to the
sounds of their people, which this script can check, beside the same letters in any order. Half a minute of training.
"""

import argparse
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass

import charloom

NAMES, WRITTEN, SHOWN = 1500, 200, 8  # of each people: in the data, asked for, printed


@dataclass(frozen=True)
class Sounds:
    """How a people's names sound: one to three syllables of onset, vowel and coda, then an ending.

    Attributes:
        onsets: What a syllable begins with.
        vowels: What follows.
        codas: What it ends with; it may also end with the vowel.
        endings: The last part of every name.
    """

    onsets: str
    vowels: str
    codas: str
    endings: str

    def make_name(self, rng: random.Random) -> str:
        """Return a name drawn at random."""
        parts = [self.onsets.split(), self.vowels.split(), ["", *self.codas.split()]]
        syllables = rng.choice([1, 1, 2, 2, 2, 3])
        name = "".join(rng.choice(part) for _ in range(syllables) for part in parts)
        return (name + rng.choice(self.endings.split())).capitalize()

    def allow(self, name: str) -> bool:
        """Return whether a name can be cut into such syllables and an ending."""
        onset, vowel, coda, ending = ("|".join(part.split()) for part in self._parts())
        return re.fullmatch(rf"(?:(?:{onset})(?:{vowel})(?:{coda})?){{1,3}}(?:{ending})", name.lower()) is not None

    def _parts(self) -> tuple[str, str, str, str]:
        return self.onsets, self.vowels, self.codas, self.endings


PEOPLES = {
    "river": Sounds("l n m s th v el", "a e i ae ia", "l n r", "wen lis nor riel dis"),
    "hill": Sounds("g k d b gr kr dr", "o u a", "k r g rn", "dak gur bok rum"),
    "sea": Sounds("h k m t p w", "a i o u ai", "n", "lani hoa nui keo"),
}


def make_data(seed: int) -> list[str]:
    """Return the lines to learn from, such as "river Lanwen", each once."""
    rng = random.Random(seed)
    lines = [f"{people} {sounds.make_name(rng)}" for people, sounds in PEOPLES.items() for _ in range(NAMES)]
    return sorted(set(lines))


def lawful(lines: Iterable[str]) -> float:
    """Return the share of the lines whose name keeps to the sounds of its people."""
    judged = [PEOPLES[people].allow(name) for people, _, name in (line.partition(" ") for line in lines)]
    return sum(judged) / max(1, len(judged))


def shuffled(lines: Iterable[str], rng: random.Random) -> list[str]:
    """Return the lines with the letters of each name in any order: what knows the letters alone."""
    pairs = (line.partition(" ") for line in lines)
    return [f"{people} {''.join(rng.sample(name, len(name)))}" for people, _, name in pairs]


def invent(model: charloom.Model, people: str, seed: int) -> list[str]:
    """Return lines that the model writes for a people."""
    return [model.generate(f"{people} ", 30, 1.0, seed + i, stop="\n") for i in range(WRITTEN)]


def run(minutes: float, seed: int) -> None:
    """Train, and print new names."""
    data = make_data(seed)
    corpus = charloom.Corpus("\n".join(data), "names", text_format=charloom.TextFormat(lines=True))
    model = charloom.train(corpus, minutes=minutes, seed=seed)
    new: list[str] = []
    for people in PEOPLES:
        found = sorted(set(invent(model, people, seed)) - set(data))
        costs = {line: one.bits_per_char for line, one in zip(found, model.score_many(found), strict=True)}
        print(f"{people}:", ", ".join(line.split(" ", 1)[1] for line in sorted(found, key=costs.__getitem__)[:SHOWN]))
        new += found
    print(f"new: {len(new)} of {WRITTEN * len(PEOPLES)} written")
    print(f"lawful: {lawful(new):.1%} of the new, {lawful(shuffled(new, random.Random(seed))):.1%} of them shuffled")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="New names for three peoples.")
    parser.add_argument("--minutes", type=float, default=0.5, help="of training (default: 0.5)")
    parser.add_argument("--seed", type=int, default=1, help="of data, training and writing (default: 1)")
    options = parser.parse_args()
    try:
        charloom.Settings(minutes=options.minutes, seed=options.seed)  # refused before the data are made
        run(options.minutes, options.seed)
    except charloom.CharloomError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
