"""Estimate password strength: a model learns how people choose passwords and counts the guesses one withstands.

    python examples/passwords.py

The script generates the data: 20,000 passwords as people choose them: words, names and years, capitals, letters
replaced by digits, keyboard patterns, a mark at the end. Popular choices are far more frequent; one password in fifty
is random. No list of stolen passwords is needed.

An attacker who knows people tries likely passwords first. So the strength of a password is the number of passwords
that are more likely. It is estimated from 2,000 passwords sampled from the model: each sample that is more likely
counts as 1 / (2,000 x its probability) passwords. The usual measure is shown for comparison: length times the bits
per character of the character classes used.

Output: some passwords sorted by estimated guesses, and how well both measures agree with the true probabilities,
which the generator knows: Spearman's rank correlation, 0 % is chance. Trains for half a minute.

Source of the estimate: Dell'Amico and Filippone 2015, "Monte Carlo Strength Evaluation".
"""

import argparse
import math
import random
import string
from collections.abc import Sequence

import numpy as np

import charloom

PASSWORDS, EVALUATED, SAMPLES = 20_000, 500, 2000
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


class PasswordGenerator:
    """Generates passwords as people choose them, and knows the probability of each.

    Args:
        seed: Seed of the random choices.
    """

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._bits = 0.0

    def password(self) -> tuple[str, float]:
        """Return a password and its surprisal: minus log2 of the probability of the choices that made it."""
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
        """Choose uniformly if `even`, otherwise the n-th choice with 1/n of the weight of the first."""
        weights = [1 if even else 1 / (i + 1) for i in range(len(choices))]
        place = self._rng.choices(range(len(choices)), weights)[0]
        self._bits -= math.log2(weights[place] / sum(weights))
        return choices[place]


def counted_bits(password: str) -> float:
    """Return length times log2 of the number of characters in the classes that occur."""
    return len(password) * math.log2(max(1, sum(len(kind) for kind in KINDS if set(kind) & set(password))))


def bits_of(model: charloom.Model, passwords: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the surprisal of each password in bits under a line model."""
    return np.array([score.total_nats for score in model.score_many(passwords)]) / math.log(2)


def guesses(bits: Sequence[float], samples: Sequence[float]) -> list[float]:
    """Estimate for each password how many passwords are more likely.

    Args:
        bits: Surprisal of the passwords in bits.
        samples: Surprisal in bits of n passwords sampled from the model. Each counts as 1 / (n x probability).
    """
    return [sum(2.0**sample for sample in samples if sample < value) / len(samples) for value in bits]


def ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value from 0; equal values share the mean of their ranks."""
    places: dict[float, list[int]] = {}
    for place, value in enumerate(sorted(values)):
        places.setdefault(value, []).append(place)
    return [sum(places[value]) / len(places[value]) for value in values]


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Return Spearman's rank correlation, from -1 to 1."""
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def run(minutes: float, seed: int) -> None:
    """Train and estimate the strength of passwords."""
    generator = PasswordGenerator(seed)
    data = [generator.password()[0] for _ in range(PASSWORDS)]
    corpus = charloom.Corpus("\n".join(data), "passwords", text_format=charloom.TextFormat(lines=True))
    model = charloom.train(corpus, minutes=minutes, seed=seed)
    generated = model.generate(length=40 * SAMPLES, temperature=1.0, seed=seed, max_lines=SAMPLES).split("\n")[:SAMPLES]
    samples = bits_of(model, generated).tolist()
    rows = zip(guesses(bits_of(model, SHOWN).tolist(), samples), SHOWN, strict=True)
    print("log2 of the guesses: by the model, by length and character classes")
    for count, password in sorted(rows):
        print(f"{math.log2(1 + count):8.1f} {counted_bits(password) - 1:8.1f}  {password}")
    generator = PasswordGenerator(seed + 1)
    truth = dict(generator.password() for _ in range(EVALUATED))  # without duplicates
    passwords = list(truth)
    print(f"rank correlation with the truth, {len(passwords)} passwords:", end=" ")
    print(f"model {rank_correlation(bits_of(model, passwords).tolist(), list(truth.values())):.1%}", end=", ")
    print(f"length {rank_correlation([counted_bits(text) for text in passwords], list(truth.values())):.1%}")


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description="Estimate the guesses a password withstands.")
    parser.add_argument("--minutes", type=float, default=0.5, help="training time (default: 0.5)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the data, training and samples (default: 1)")
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
