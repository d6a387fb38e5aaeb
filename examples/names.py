"""Generate new names for a story: a model learns how three peoples name their children and invents more names.

    python examples/names.py

The script generates the data: 1,500 names per people, duplicates removed. Each people has its own sounds and endings.
A line is a people and a name, so one model learns all three, and the prompt selects the people. Names that occur in
the data are discarded. The rest is sorted by surprisal: the names with the fewest bits per character come first.

Output: names for each people, how many of the generated names are new, and how many of the new names follow the sound
rules of their people, compared with the same names with shuffled letters. Trains for half a minute.
"""

import argparse
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass

import charloom

NAMES, GENERATED, SHOWN = 1500, 200, 8  # per people: in the data, generated, printed


@dataclass(frozen=True)
class Sounds:
    """Sound rules of a people's names: one to three syllables of onset, vowel and optional coda, then an ending.

    Attributes:
        onsets: Consonants that start a syllable, separated by spaces.
        vowels: Vowels of a syllable.
        codas: Consonants that may end a syllable.
        endings: Last parts of a name.
    """

    onsets: str
    vowels: str
    codas: str
    endings: str

    def make_name(self, rng: random.Random) -> str:
        """Return a random name."""
        parts = [self.onsets.split(), self.vowels.split(), ["", *self.codas.split()]]
        syllables = rng.choice([1, 1, 2, 2, 2, 3])
        name = "".join(rng.choice(part) for _ in range(syllables) for part in parts)
        return (name + rng.choice(self.endings.split())).capitalize()

    def allows(self, name: str) -> bool:
        """Return whether a name consists of such syllables and an ending."""
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
    """Return the training lines, such as "river Lanwen", without duplicates."""
    rng = random.Random(seed)
    lines = [f"{people} {sounds.make_name(rng)}" for people, sounds in PEOPLES.items() for _ in range(NAMES)]
    return sorted(set(lines))


def valid_share(lines: Iterable[str]) -> float:
    """Return the share of lines whose name follows the sound rules of its people."""
    valid = [PEOPLES[people].allows(name) for people, _, name in (line.partition(" ") for line in lines)]
    return sum(valid) / max(1, len(valid))


def shuffled(lines: Iterable[str], rng: random.Random) -> list[str]:
    """Return the lines with the letters of each name shuffled: the baseline that knows only the letters."""
    pairs = (line.partition(" ") for line in lines)
    return [f"{people} {''.join(rng.sample(name, len(name)))}" for people, _, name in pairs]


def generate_names(model: charloom.Model, people: str, seed: int) -> list[str]:
    """Return the lines that the model generates for a people."""
    return [model.generate(f"{people} ", 30, 1.0, seed + i, stop="\n") for i in range(GENERATED)]


def run(minutes: float, seed: int) -> None:
    """Train and print new names."""
    data = make_data(seed)
    corpus = charloom.Corpus("\n".join(data), "names", text_format=charloom.TextFormat(lines=True))
    model = charloom.train(corpus, minutes=minutes, seed=seed)
    new: list[str] = []
    for people in PEOPLES:
        names = sorted(set(generate_names(model, people, seed)) - set(data))
        bits = {line: score.bits_per_char for line, score in zip(names, model.score_many(names), strict=True)}
        print(f"{people}:", ", ".join(line.split(" ", 1)[1] for line in sorted(names, key=bits.__getitem__)[:SHOWN]))
        new += names
    print(f"new: {len(new)} of {GENERATED * len(PEOPLES)} generated names")
    baseline = valid_share(shuffled(new, random.Random(seed)))
    print(f"valid: {valid_share(new):.1%} of the new names, {baseline:.1%} with shuffled letters")


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description="New names for three peoples.")
    parser.add_argument("--minutes", type=float, default=0.5, help="training time (default: 0.5)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the data, training and generation (default: 1)")
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
