"""Password strength: a model learns how people choose, and says how many guesses a password would stand.

    python examples/passwords.py

The data are 20,000 passwords, made here as people make them: words, names and years, a capital, letters turned into
digits, keys that lie side by side, a mark at the end; the favourites far more often than the rest; one in fifty is
random. Real lists of stolen passwords are not needed.

A guesser who knows people tries the likeliest first. So the strength is not how many characters a password has, but how
many passwords the model holds to be likelier. That is estimated from 2,000 that the model writes itself: each that is
likelier than the password stands for as many as its own probability says. Beside it the usual count: length times the
bits of a character of the kinds that occur.

What comes out: some passwords in order of the guesses they stand, and how well both orders agree with the truth, which
is known here, as the maker's own probabilities are: Spearman's rank correlation, 0 % is chance. Half a minute of
training.

Source: the estimate by sampling: Dell'Amico and Filippone 2015, "Monte Carlo Strength Evaluation".
"""

import argparse
import math
import random
import string
from collections.abc import Sequence

import numpy as np

import charloom

PASSWORDS, JUDGED, WRITTEN = 20_000, 500, 2000
WORDS = [
    "dragon", "summer", "monkey", "sunshine", "flower", "secret", "winter", "shadow", "tiger", "hello", "butterfly",
    "cookie", "orange", "magic",
]  # fmt: skip
NAMES = ["anna", "lucas", "maria", "peter", "sophie", "daniel", "laura", "martin", "emma", "simon", "clara", "jonas"]
WALKS = ["qwerty", "asdfgh", "zxcvbn", "123456", "qazwsx", "12345", "1q2w3e", "qwertz"]
ENDS = ["", "1", "123", "!", "12", "01", "?", "99", "7", "!!", *map(str, range(1960, 2026))]
LEET = str.maketrans("aeios", "43105")
MARKS = "!?#$%&*+-_@."
KINDS = (string.ascii_lowercase, string.ascii_uppercase, string.digits, MARKS)
SHOWN = [
    "123456", "Summer2024!", "dr4g0n", "anna1987", "sunshineflower", "Correcthorse!7", "kV9#tq_Zr2xW", "purplehippo",
]  # fmt: skip


class Chooser:
    """Chooses as people do, and knows how likely each choice was.

    Args:
        seed: Of its choices.
    """

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._bits = 0.0

    def password(self) -> tuple[str, float]:
        """Return a password, and minus the logarithm to base 2 of the probability of its making."""
        self._bits = 0.0
        if self._happens(0.02):
            text = "".join(self._of("".join(KINDS), even=True) for _ in range(10))
        elif self._happens(0.15):
            text = self._of(WALKS) + self._of(ENDS)
        else:
            text = self._of(NAMES) if self._happens(0.4) else self._word()
            text += self._of(ENDS)
        return text, self._bits

    def _word(self) -> str:
        word = self._of(WORDS) + (self._of(WORDS) if self._happens(0.15) else "")
        word = word.translate(LEET) if self._happens(0.15) else word
        return word.capitalize() if self._happens(0.3) else word

    def _happens(self, chance: float) -> bool:
        happens = self._rng.random() < chance
        self._bits -= math.log2(chance if happens else 1 - chance)
        return happens

    def _of(self, choices: Sequence[str], even: bool = False) -> str:
        """Choose one: all evenly, or the n-th with 1/n of the first one's chance."""
        weights = [1 if even else 1 / (i + 1) for i in range(len(choices))]
        place = self._rng.choices(range(len(choices)), weights)[0]
        self._bits -= math.log2(weights[place] / sum(weights))
        return choices[place]


def counted_bits(password: str) -> float:
    """Return the usual count: length times the bits of a character, drawn evenly from the kinds that occur."""
    return len(password) * math.log2(max(1, sum(len(kind) for kind in KINDS if set(kind) & set(password))))


def bits_of(model: charloom.Model, passwords: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return minus the logarithm to base 2 of each password's probability under a model of lines."""
    return np.array([one.total_nats for one in model.score_many(passwords)]) / math.log(2)


def guesses(bits: Sequence[float], samples: Sequence[float]) -> list[float]:
    """Return how many passwords are likelier than each.

    Args:
        bits: What the passwords cost.
        samples: What passwords cost that were drawn by their probability. Of n, each stands for 1 / (n x probability).
    """
    return [sum(2.0**sample for sample in samples if sample < one) / len(samples) for one in bits]


def ranks(values: Sequence[float]) -> list[float]:
    """Return each value's rank from 0; equal values share the mean of theirs."""
    places: dict[float, list[int]] = {}
    for place, value in enumerate(sorted(values)):
        places.setdefault(value, []).append(place)
    return [sum(places[value]) / len(places[value]) for value in values]


def agreement(one: Sequence[float], other: Sequence[float]) -> float:
    """Return Spearman's rank correlation, from -1 to 1."""
    return float(np.corrcoef(ranks(one), ranks(other))[0, 1])


def run(minutes: float, seed: int) -> None:
    """Train, and judge passwords."""
    chooser = Chooser(seed)
    data = [chooser.password()[0] for _ in range(PASSWORDS)]
    corpus = charloom.Corpus("\n".join(data), "passwords", text_format=charloom.TextFormat(lines=True))
    model = charloom.train(corpus, minutes=minutes, seed=seed)
    written = model.generate(length=40 * WRITTEN, temperature=1.0, seed=seed, max_lines=WRITTEN).split("\n")[:WRITTEN]
    samples = bits_of(model, written).tolist()
    rows = zip(guesses(bits_of(model, SHOWN).tolist(), samples), SHOWN, strict=True)
    print("guesses, as powers of 2: by the model, by the count")
    for stood, password in sorted(rows):
        print(f"{math.log2(1 + stood):8.1f} {counted_bits(password) - 1:8.1f}  {password}")
    chooser = Chooser(seed + 1)
    truth = dict(chooser.password() for _ in range(JUDGED))  # each password once
    found = list(truth)
    print(f"agreement with the truth, {len(found)} passwords:", end=" ")
    print(f"model {agreement(bits_of(model, found).tolist(), list(truth.values())):.1%}", end=", ")
    print(f"count {agreement([counted_bits(one) for one in found], list(truth.values())):.1%}")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="How many guesses a password stands.")
    parser.add_argument("--minutes", type=float, default=0.5, help="of training (default: 0.5)")
    parser.add_argument("--seed", type=int, default=1, help="of data, training and samples (default: 1)")
    options = parser.parse_args()
    try:
        charloom.Settings(minutes=options.minutes, seed=options.seed)  # refused before the data are made
        run(options.minutes, options.seed)
    except charloom.CharloomError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
