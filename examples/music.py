"""Tunes in ABC notation: a model learns to fill bars, and writes tunes in the metre that is asked for.

    python examples/music.py --output tunes.abc

The data are 2,000 tunes of two parts of four bars, made here: in four metres and four keys, a melody that walks up
and down the scale, a bar that begins on a note of the key's chord, an end on the key's own note. Every bar is as long
as its metre says. To write such a tune a model has to count: the lengths in a bar must add up, in 6/8 otherwise than
in 4/4, though the metre was said long before.

What comes out: how many bars, and how many whole tunes, have the right lengths, beside the same notes with their
lengths shuffled within each tune; and a file of those that are right in all bars, which any ABC program plays or
prints. A minute of training.
"""

import argparse
import random
import re
from fractions import Fraction
from pathlib import Path

import charloom

TUNES, WRITTEN, BARS = 2000, 20, 4  # in the data; asked for in each metre; of a part
BEATS = {2: ["2", "1 1", "1 1", "3/2 1/2"], 3: ["3", "2 1", "1 1 1"]}  # lengths that fill a beat, in eighths
METRES = {"2/4": (2, 2), "3/4": (3, 2), "4/4": (4, 2), "6/8": (2, 3)}  # beats of a bar, eighths of a beat
KEYS = {"C": 0, "G": 4, "D": 1, "Am": 5}  # the place of the key's own note in the scale
SCALE = "CDEFGABcdefgab"
NOTE = re.compile(r"([_^=]?[A-Ga-gz][,']*)(\d*)(/?)(\d*)")
WHO, WHAT = ("Miller", "Weaver", "Sailor", "Baker", "Farmer"), ("Walk", "Jig", "Morning", "Delight", "Wheel")


def make_bar(rng: random.Random, metre: str, tonic: int, place: int) -> tuple[str, int]:
    """Return a bar, and the place in the scale of its last note."""
    beats, eighths = METRES[metre]
    chord = [tonic + step for step in (-7, -5, -3, 0, 2, 4, 7) if 0 <= tonic + step < len(SCALE)]
    place = min(chord, key=lambda note: abs(note - place))
    parts = []
    for _ in range(beats):
        notes = ""
        for length in rng.choice(BEATS[eighths]).split():
            notes += SCALE[place] + length.replace("1/2", "/2") * (length != "1")
            place = min(max(place + rng.choice([-2, -1, -1, 1, 1, 2]), 0), len(SCALE) - 1)
        parts.append(notes)
    return " ".join(parts), place


def make_tune(rng: random.Random) -> str:
    """Return a tune: its head, and two parts, each of which ends on the key's own note."""
    metre, key = rng.choice(list(METRES)), rng.choice(list(KEYS))
    beats, eighths = METRES[metre]
    place, parts = KEYS[key], []
    for _ in range(2):
        bars = []
        for _ in range(BARS - 1):
            bar, place = make_bar(rng, metre, KEYS[key], place)
            bars.append(bar)
        parts.append("|".join([*bars, f"{SCALE[KEYS[key]]}{beats * eighths}"]) + ":|")
    return f"X:1\nT:The {rng.choice(WHO)}'s {rng.choice(WHAT)}\nM:{metre}\nL:1/8\nK:{key}\n" + "\n".join(parts)


def length_of(bar: str) -> Fraction:
    """Return how long a bar's notes are together, in the tune's unit.

    Raises:
        ValueError: If it holds anything but notes, rests and spaces, or a length of nothing.
    """
    rest = NOTE.sub("", bar).strip(" ")
    notes = NOTE.findall(bar)
    if rest or any(0 in (int(over or 1), int(under or 1)) for _, over, _, under in notes):
        raise ValueError(f"{bar!r} is no bar of notes.")
    return sum(
        (Fraction(int(over or 1), int(under or 2) if slash else 1) for _, over, slash, under in notes), Fraction()
    )


def bars_right(tune: str) -> list[bool]:
    """Return for each bar of a tune whether it is as long as the metre says.

    Raises:
        ValueError: If the head lacks metre, unit of length or key.
    """
    before, _, after = tune.partition("\nK:")
    key, _, body = after.partition("\n")
    head = {**dict(re.findall(r"^([ML]):(\S+)$", before, re.M)), **({"K": key} if key else {})}
    if set(head) != set("MLK") or not all(re.fullmatch(r"[1-9]\d?/[1-9]\d?", head[name]) for name in "ML"):
        raise ValueError("A tune has lines M:, L: and K:, as in M:3/4, L:1/8, K:G.")
    wanted = Fraction(head["M"]) / Fraction(head["L"])
    right = []
    for bar in re.split(r"\||\n", body):
        if bar.strip(" :]"):
            try:
                right.append(length_of(bar.strip(":")) == wanted)
            except ValueError:
                right.append(False)
    return right


def whole(tune: str) -> bool:
    """Return whether a tune has as many bars as those of the data, all of the right length."""
    right = bars_right(tune)
    return len(right) == 2 * BARS and all(right)


def shuffled(tune: str, rng: random.Random) -> str:
    """Return a tune with the same notes, their lengths shuffled."""
    head, key, body = re.split(r"(\nK:\S+\n)", tune, maxsplit=1)
    lengths = [over + slash + under for _, over, slash, under in NOTE.findall(body)]
    rng.shuffle(lengths)
    return head + key + NOTE.sub(lambda note: note[1] + lengths.pop(), body)


def report(name: str, tunes: list[str]) -> None:
    """Print how many bars and tunes are right."""
    bars = [right for tune in tunes for right in bars_right(tune)]
    right = sum(map(whole, tunes))
    print(f"{name}: {sum(bars) / max(1, len(bars)):.1%} of {len(bars)} bars, {right} of {len(tunes)} tunes right")


def run(minutes: float, seed: int, output: Path) -> None:
    """Train, and write tunes."""
    rng = random.Random(seed)
    data = [make_tune(rng) for _ in range(TUNES)]
    model = charloom.train(charloom.Corpus("\n\n".join(data) + "\n\n", "music"), minutes=minutes, seed=seed)
    known = {tune.split("\nK:")[1] for tune in data}
    written: list[str] = []
    for metre in METRES:
        head = f"X:1\nT:The {rng.choice(WHO)}'s Loom\nM:{metre}\nL:1/8\nK:"
        prompts = [f"{head}{rng.choice(list(KEYS))}\n" for _ in range(WRITTEN)]
        tunes = [model.generate(prompt, 300, 0.8, seed + i, stop="\n\n") for i, prompt in enumerate(prompts)]
        report(metre, tunes)
        written += tunes
    report("all", written)
    report("shuffled", [shuffled(tune, rng) for tune in written])
    right = [tune for tune in written if whole(tune) and tune.split("\nK:")[1] not in known]
    output.write_text("\n\n".join(tune.replace("X:1\n", f"X:{i + 1}\n") for i, tune in enumerate(right)) + "\n")
    print(f"{len(right)} new tunes that are right in all bars are in {output}" + ("; the first:" if right else "."))
    print("".join(right[:1]))


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="Tunes whose bars add up.")
    parser.add_argument("--minutes", type=float, default=1.0, help="of training (default: 1)")
    parser.add_argument("--seed", type=int, default=1, help="of data, training and writing (default: 1)")
    parser.add_argument("--output", type=Path, default=Path("tunes.abc"), help="a new file (default: tunes.abc)")
    options = parser.parse_args()
    if options.output.exists():
        parser.error(f"{options.output} is there already, and is not written over. Name another with --output.")
    if not options.output.parent.is_dir():
        parser.error(f"--output: there is no folder {options.output.parent}. Make it, or name a file in another.")
    try:
        charloom.Settings(minutes=options.minutes, seed=options.seed)  # refused before the data are made
        run(options.minutes, options.seed, options.output)
    except charloom.CharloomError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
