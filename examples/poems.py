"""Generate poems under constraints: lines that spell a word, that rhyme in pairs, or that avoid a letter.

    python examples/poems.py --word LOOM

The script generates the data: 20,000 rhymed quatrains from a small grammar. The model learns the words, the shape of
a line, and that lines 1 and 2 rhyme, and 3 and 4. For that it has to remember an ending for a whole line.

The constraints need no extra training. Number of lines: a poem ends with an empty line, which is a stop sequence.
First letter: the poem so far plus a letter is the prompt of the next line. Rhyme: of twenty candidate lines, the
rhyming one with the lowest surprisal is kept. Forbidden letter: the sampler never draws it.

Output: how many pairs of lines rhyme in 100 poems, compared with random pairs of lines; a poem that spells the word;
a poem without the letter "s", and how many of its words occur in the data. Trains for a minute.
"""

import argparse
import random
from collections.abc import Iterable
from itertools import pairwise

import charloom

POEMS, GENERATED, CANDIDATES = 20_000, 100, 20  # in the data; generated freely; candidates for a line
FORBIDDEN = "s"
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
    """Return a line that ends with the given word."""
    begin = rng.choice(OPENERS)
    return rng.choice(
        [
            f"{begin} the {end}",
            f"{begin} the {rng.choice(ADJECTIVES)} {end}",
            f"{begin} the {rng.choice(NOUNS)}'s {end}",
        ]
    )


def make_poem(rng: random.Random) -> str:
    """Return four lines; lines 1 and 2 end with different words that rhyme, and so do lines 3 and 4."""
    ends = [word for words in rng.sample(RHYMES, 2) for word in rng.sample(words, 2)]
    return "\n".join(make_line(rng, end) for end in ends)


def rhyme(first: str, second: str) -> bool:
    """Return whether two lines end with different words of the same rhyme group."""
    ends = {line.split()[-1] for line in (first, second) if line.split()}
    return len(ends) == 2 and any(ends <= set(words) for words in RHYMES)


def rhyming_share(pairs: Iterable[tuple[str, str]]) -> float:
    """Return the share of pairs that rhyme."""
    rhymes = [rhyme(*pair) for pair in pairs]
    return sum(rhymes) / max(1, len(rhymes))


def spell(model: charloom.Model, word: str, seed: int) -> list[str]:
    """Return lines whose first letters spell a word, rhyming in pairs if a candidate rhymes."""
    lines: list[str] = []
    for letter in word:
        prefix = "\n\n" + "".join(f"{line}\n" for line in lines[len(lines) // 4 * 4 :])
        candidates = {
            model.generate(prefix + letter, 80, 0.8, seed + i, stop="\n")[len(prefix) :] for i in range(CANDIDATES)
        }
        nats = {line: model.score(prefix + line + "\n").total_nats for line in sorted(candidates)}
        must_rhyme = len(lines) % 2 == 1
        lines.append(min(nats, key=lambda line: (must_rhyme and not rhyme(lines[-1], line), nats[line])))
    return lines


def run(minutes: float, seed: int, word: str) -> None:
    """Train and generate poems."""
    rng = random.Random(seed)
    data = [make_poem(rng) for _ in range(POEMS)]
    corpus = charloom.Corpus("\n\n".join(data) + "\n\n", "poems")
    # Gradients must reach back over at least one line, or the model never learns to rhyme. With this many poems it
    # cannot memorize them; regularization would only keep it from rhyming.
    model = charloom.train(corpus, minutes=minutes, seed=seed, seq_length=128, weight_decay=0.0, dropout_output=0.0)
    poems = [model.generate("\n\n", 400, 0.8, seed + i, stop="\n\n").strip().split("\n") for i in range(GENERATED)]
    lines = [line for poem in poems for line in poem]
    random_pairs = list(pairwise(rng.sample(lines, len(lines))))
    pairs = [(first, second) for poem in poems for first, second in zip(poem[::2], poem[1::2], strict=False)]
    baseline = rhyming_share(random_pairs)
    print(f"rhyme: {rhyming_share(pairs):.1%} of {len(pairs)} pairs of lines, {baseline:.1%} of random pairs")
    print(f"four lines: {sum(len(poem) == 4 for poem in poems)} of {len(poems)} poems")
    print("\n" + "\n".join(spell(model, word, seed)) + "\n")
    known = {w for poem in data for w in poem.split()}
    letters = FORBIDDEN + FORBIDDEN.upper()
    poem = model.generate("\n\n", 400, 0.8, seed, stop="\n\n", forbid=letters).strip()
    share = sum(w in known for w in poem.split()) / max(1, len(poem.split()))
    print(f"{poem}\n\nwithout {FORBIDDEN!r}: {share:.1%} of the words occur in the data")


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description="Generate poems under constraints.")
    parser.add_argument("--minutes", type=float, default=1.0, help="training time (default: 1)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the data, training and generation (default: 1)")
    parser.add_argument("--word", default="LOOM", help="word that the first letters spell (default: LOOM)")
    options = parser.parse_args()
    letters = {opener[0] for opener in OPENERS}
    if not options.word or not set(options.word) <= letters:
        parser.error(f"--word must consist of the letters {''.join(sorted(letters))}, got {options.word!r}.")
    try:
        charloom.Settings(
            minutes=options.minutes, seed=options.seed
        )  # rejects bad values before the data are generated
        run(options.minutes, options.seed, options.word)
    except charloom.CharloomError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
