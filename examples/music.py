"""Generate tunes in ABC notation: a model learns to fill bars and writes tunes in a given metre.

    python examples/music.py --output tunes.abc

The script generates the data: 2,000 tunes of two parts with four bars each, in four metres and four keys. The melody
moves up and down the scale; a bar starts on a note of the tonic chord, and a part ends on the tonic. Every bar is as
long as its metre requires. To write such a tune, a model has to count: note lengths must add up to the metre, which
stands far back in the header.

Output: how many bars and how many whole tunes have the right length, compared with the same notes with shuffled
lengths; and a file with the correct tunes that any ABC program can play or print. Trains for a minute.
"""

import argparse
import random
import re
from fractions import Fraction
from pathlib import Path

import charloom

TUNES, GENERATED, BARS = 2000, 20, 4  # in the data; generated per metre; bars per part
BEATS = {2: ["2", "1 1", "1 1", "3/2 1/2"], 3: ["3", "2 1", "1 1 1"]}  # lengths that fill a beat, in eighths
METRES = {"2/4": (2, 2), "3/4": (3, 2), "4/4": (4, 2), "6/8": (2, 3)}  # beats per bar, eighths per beat
KEYS = {"C": 0, "G": 4, "D": 1, "Am": 5}  # index of the tonic in SCALE
SCALE = "CDEFGABcdefgab"
NOTE = re.compile(r"([_^=]?[A-Ga-gz][,']*)(\d*)(/?)(\d*)")
WHO, WHAT = ("Miller", "Weaver", "Sailor", "Baker", "Farmer"), ("Walk", "Jig", "Morning", "Delight", "Wheel")


def make_bar(rng: random.Random, metre: str, tonic: int, place: int) -> tuple[str, int]:
    """Return a bar, and the scale index after its last note."""
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
    """Return a tune: header and two parts, each ending on the tonic."""
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
    """Return the total length of a bar's notes, in units of the tune's L: field.

    Raises:
        ValueError: If it contains anything but notes, rests and spaces, or a length of zero.
    """
    rest = NOTE.sub("", bar).strip(" ")
    notes = NOTE.findall(bar)
    if rest or any(0 in (int(over or 1), int(under or 1)) for _, over, _, under in notes):
        raise ValueError(f"{bar!r} is not a bar of notes.")
    return sum(
        (Fraction(int(over or 1), int(under or 2) if slash else 1) for _, over, slash, under in notes), Fraction()
    )


def correct_bars(tune: str) -> list[bool]:
    """Return for each bar of a tune whether its length matches the metre.

    Raises:
        ValueError: If the header lacks metre (M:), unit length (L:) or key (K:).
    """
    before, _, after = tune.partition("\nK:")
    key, _, body = after.partition("\n")
    head = {**dict(re.findall(r"^([ML]):(\S+)$", before, re.M)), **({"K": key} if key else {})}
    if set(head) != set("MLK") or not all(re.fullmatch(r"[1-9]\d?/[1-9]\d?", head[name]) for name in "ML"):
        raise ValueError("A tune needs the lines M:, L: and K:, for example M:3/4, L:1/8, K:G.")
    expected = Fraction(head["M"]) / Fraction(head["L"])
    right = []
    for bar in re.split(r"\||\n", body):
        if bar.strip(" :]"):
            try:
                right.append(length_of(bar.strip(":")) == expected)
            except ValueError:
                right.append(False)
    return right


def is_correct(tune: str) -> bool:
    """Return whether a tune has as many bars as the tunes in the data, all of the right length."""
    correct = correct_bars(tune)
    return len(correct) == 2 * BARS and all(correct)


def shuffled(tune: str, rng: random.Random) -> str:
    """Return the tune with the lengths of its notes shuffled."""
    head, key, body = re.split(r"(\nK:\S+\n)", tune, maxsplit=1)
    lengths = [over + slash + under for _, over, slash, under in NOTE.findall(body)]
    rng.shuffle(lengths)
    return head + key + NOTE.sub(lambda note: note[1] + lengths.pop(), body)


def report(name: str, tunes: list[str]) -> None:
    """Print how many bars and tunes have the right length."""
    bars = [is_right for tune in tunes for is_right in correct_bars(tune)]
    correct = sum(map(is_correct, tunes))
    print(f"{name}: {sum(bars) / max(1, len(bars)):.1%} of {len(bars)} bars, {correct} of {len(tunes)} tunes correct")


def run(minutes: float, seed: int, output: Path) -> None:
    """Train and generate tunes."""
    rng = random.Random(seed)
    data = [make_tune(rng) for _ in range(TUNES)]
    model = charloom.train(charloom.Corpus("\n\n".join(data) + "\n\n", "music"), minutes=minutes, seed=seed)
    known = {tune.split("\nK:")[1] for tune in data}
    generated: list[str] = []
    for metre in METRES:
        head = f"X:1\nT:The {rng.choice(WHO)}'s Loom\nM:{metre}\nL:1/8\nK:"
        prompts = [f"{head}{rng.choice(list(KEYS))}\n" for _ in range(GENERATED)]
        tunes = [model.generate(prompt, 300, 0.8, seed + i, stop="\n\n") for i, prompt in enumerate(prompts)]
        report(metre, tunes)
        generated += tunes
    report("all", generated)
    report("shuffled", [shuffled(tune, rng) for tune in generated])
    correct = [tune for tune in generated if is_correct(tune) and tune.split("\nK:")[1] not in known]
    output.write_text("\n\n".join(tune.replace("X:1\n", f"X:{i + 1}\n") for i, tune in enumerate(correct)) + "\n")
    print(f"{len(correct)} new, correct tunes written to {output}" + ("; the first:" if correct else "."))
    print("".join(correct[:1]))


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description="Generate tunes in ABC notation.")
    parser.add_argument("--minutes", type=float, default=1.0, help="training time (default: 1)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the data, training and generation (default: 1)")
    parser.add_argument(
        "--output", type=Path, default=Path("tunes.abc"), help="new file for the tunes (default: tunes.abc)"
    )
    options = parser.parse_args()
    if options.output.exists():
        parser.error(f"{options.output} already exists. Choose another file with --output.")
    if not options.output.parent.is_dir():
        parser.error(
            f"The folder {options.output.parent} of --output does not exist. Create it or choose another file."
        )
    try:
        charloom.Settings(
            minutes=options.minutes, seed=options.seed
        )  # rejects bad values before the data are generated
        run(options.minutes, options.seed, options.output)
    except charloom.CharloomError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
