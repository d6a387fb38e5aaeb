"""Poems under rules: four lines that spell a word, that rhyme in pairs, or that do without a letter.

    python examples/poems.py --word LOOM

The data are 20,000 rhymed quatrains, made here of a little grammar. Learning them, a model finds the words, the shape
of a line, and that lines 1 and 2 rhyme, and 3 and 4: it has to keep an ending in mind for a whole line.

The rules need no training. Line count: a poem ends at an empty line, which is a stop string. First letters: the poem so
far and a letter are the prompt of the next line, which stops at its end. Rhyme: of twenty such lines the one is kept
that rhymes and surprises the model least. A letter that must not occur is forbidden to be drawn.

What comes out: how many pairs of lines rhyme in 100 poems written freely, beside lines paired at random; a poem that
spells the word; a poem without the letter "s", and how many of its words are words of the data. A minute of training.
"""

import argparse
import random
from collections.abc import Iterable
from itertools import pairwise

import charloom

POEMS, WRITTEN, TRIED = 20_000, 100, 20  # in the data; written freely; lines to choose from
WITHOUT = "s"
RHYMES = [
    words.split()
    for words in (
        "night light flight sight height kite", "day bay clay ray hay way", "tree sea bee knee quay key",
        "stone bone throne cone loan", "sand land hand strand band", "rain lane plane grain chain train",
        "snow glow crow row toe bow", "hill mill quill sill frill", "door floor shore oar core",
        "stair chair hair bear pear air", "ring king string spring wing", "moon spoon tune dune noon",
    )
]  # fmt: skip
OPENERS = [
    "Above", "Beneath", "Close by", "Down by", "East of", "Far from", "Going by", "Here by", "In", "Just by",
    "Keeping to", "Low by", "Minding", "Near", "On", "Past", "Quiet by", "Round", "South of", "Turning to", "Under",
    "Visiting", "West of", "Yearning for",
]  # fmt: skip
ADJECTIVES = ["old", "red", "cold", "blue", "calm", "dark", "pale", "warm", "wild", "small", "golden", "hollow"]
NOUNS = ["weaver", "miller", "river", "garden", "baker", "boat", "hound", "lamp", "owl", "fiddler", "clock", "window"]


def make_line(rng: random.Random, end: str) -> str:
    """Return a line that ends with a word."""
    begin = rng.choice(OPENERS)
    return rng.choice(
        [
            f"{begin} the {end}",
            f"{begin} the {rng.choice(ADJECTIVES)} {end}",
            f"{begin} the {rng.choice(NOUNS)}'s {end}",
        ]
    )


def make_poem(rng: random.Random) -> str:
    """Return four lines; the first two end with different words that rhyme, and so do the others."""
    ends = [word for words in rng.sample(RHYMES, 2) for word in rng.sample(words, 2)]
    return "\n".join(make_line(rng, end) for end in ends)


def rhyme(one: str, other: str) -> bool:
    """Return whether two lines end with different words of one group of rhymes."""
    ends = {line.split()[-1] for line in (one, other) if line.split()}
    return len(ends) == 2 and any(ends <= set(words) for words in RHYMES)


def rhyming(pairs: Iterable[tuple[str, str]]) -> float:
    """Return the share of pairs of lines that rhyme."""
    judged = [rhyme(*pair) for pair in pairs]
    return sum(judged) / max(1, len(judged))


def spell(model: charloom.Model, word: str, seed: int) -> list[str]:
    """Return lines whose first letters are a word's, and that rhyme in pairs where the model found one that does."""
    lines: list[str] = []
    for letter in word:
        before = "\n\n" + "".join(f"{line}\n" for line in lines[len(lines) // 4 * 4 :])
        tried = {model.generate(before + letter, 80, 0.8, seed + i, stop="\n")[len(before) :] for i in range(TRIED)}
        costs = {line: model.score(before + line + "\n").total_nats for line in sorted(tried)}
        second = len(lines) % 2 == 1
        lines.append(min(costs, key=lambda line: (second and not rhyme(lines[-1], line), costs[line])))
    return lines


def run(minutes: float, seed: int, word: str) -> None:
    """Train, and write poems."""
    rng = random.Random(seed)
    data = [make_poem(rng) for _ in range(POEMS)]
    corpus = charloom.Corpus("\n\n".join(data) + "\n\n", "poems")
    # An error is followed back over so many characters: over a line at least, or no rhyme is ever found. And with so
    # many poems none is learned by heart: what holds a model back from that would hold it back from rhyming.
    model = charloom.train(corpus, minutes=minutes, seed=seed, seq_length=128, weight_decay=0.0, dropout_output=0.0)
    poems = [model.generate("\n\n", 400, 0.8, seed + i, stop="\n\n").strip().split("\n") for i in range(WRITTEN)]
    lines = [line for poem in poems for line in poem]
    by_chance = list(pairwise(rng.sample(lines, len(lines))))
    pairs = [(first, second) for poem in poems for first, second in zip(poem[::2], poem[1::2], strict=False)]
    print(f"rhyme: {rhyming(pairs):.1%} of {len(pairs)} pairs of lines, {rhyming(by_chance):.1%} of lines at random")
    print(f"four lines: {sum(len(poem) == 4 for poem in poems)} of {len(poems)} poems")
    print("\n" + "\n".join(spell(model, word, seed)) + "\n")
    known = {w for poem in data for w in poem.split()}
    letters = WITHOUT + WITHOUT.upper()
    without = model.generate("\n\n", 400, 0.8, seed, stop="\n\n", forbid=letters).strip()
    share = sum(w in known for w in without.split()) / max(1, len(without.split()))
    print(f"{without}\n\nwithout {WITHOUT!r}: {share:.1%} of the words are words of the data")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="Poems under rules.")
    parser.add_argument("--minutes", type=float, default=1.0, help="of training (default: 1)")
    parser.add_argument("--seed", type=int, default=1, help="of data, training and writing (default: 1)")
    parser.add_argument("--word", default="LOOM", help="what the first letters spell (default: LOOM)")
    options = parser.parse_args()
    letters = {opener[0] for opener in OPENERS}
    if not options.word or not set(options.word) <= letters:
        parser.error(f"--word must be of the letters {''.join(sorted(letters))}; got {options.word!r}.")
    try:
        charloom.Settings(minutes=options.minutes, seed=options.seed)  # refused before the data are made
        run(options.minutes, options.seed, options.word)
    except charloom.CharloomError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
