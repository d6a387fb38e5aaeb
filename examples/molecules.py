"""Molecules: a model learns SMILES, the line notation of chemistry, and proposes new ones around a given beginning.

    python examples/molecules.py

The data are made here: 8,000 molecules of carbon, nitrogen, oxygen, sulfur and halogens, grown from rings and groups
by single bonds, each written as SMILES with its double bonds in place (C1=CC=CC=C1, not c1ccccc1). A small parser
reads SMILES, closes rings and branches, and counts bonds: a molecule is valid if it can be read and no atom has more
bonds than its valence. Stereochemistry, charges and isotopes are not looked at.

What comes out: of 500 strings that the model writes, how many are valid, and how many of these are new: no molecule of
the data has the same atoms and bonds around every atom, however it is written. Beside it the same strings with their
characters in any order. Then new ones that begin with a ring asked for, the lightest first, with formula and mass. A
minute of training.
"""

import argparse
import random
import re
from collections import Counter
from dataclasses import dataclass, field

import charloom

MOLECULES, WRITTEN, ASKED, SHOWN = 8000, 500, 100, 8  # in the data, written freely and after a ring, printed
VALENCE = {"C": 4, "N": 3, "O": 2, "S": 2, "F": 1, "Cl": 1, "Br": 1}
MASS = {"H": 1.008, "C": 12.011, "N": 14.007, "O": 15.999, "S": 32.06, "F": 18.998, "Cl": 35.45, "Br": 79.904}
CORES = [
    "C1CCCCC1", "C1=CC=CC=C1", "C1=CC=NC=C1", "C1CCNC1", "C1=COC=C1", "C1CNCCN1", "CCC", "CCCC", "C1CC1", "C1=CSC=C1",
]  # fmt: skip
GROUPS = [
    "C", "C", "C", "CC", "CC(C)C", "N", "O", "S", "F", "Cl", "Br", "C=O", "C#N", "C(=O)O", "C(=O)N", "C=C", "OC",
    "C1=CC=CC=C1", "C1CCCC1", "C1CCOCC1", "C1CC1",
]  # fmt: skip
RING = "C1CCNC1"  # what is asked for


@dataclass
class Molecule:
    """Atoms by their elements, and bonds: the order (1, 2 or 3) by the two atoms' places, the lower first."""

    atoms: list[str] = field(default_factory=list)
    bonds: dict[tuple[int, int], int] = field(default_factory=dict)

    def bind(self, one: int, other: int, order: int) -> None:
        """Add a bond; ``ValueError`` if it is there, or from an atom to itself."""
        pair = (min(one, other), max(one, other))
        if one == other or pair in self.bonds:
            raise ValueError(f"Atoms {one} and {other} cannot be bound (again).")
        self.bonds[pair] = order

    def neighbours(self, atom: int) -> list[tuple[int, int]]:
        """Return the atoms bound to one, each with the bond's order."""
        return [(sum(pair) - atom, order) for pair, order in self.bonds.items() if atom in pair]

    def hydrogens(self, atom: int) -> int:
        """Return how many hydrogens fill up an atom; below 0 if it has too many bonds."""
        return VALENCE[self.atoms[atom]] - sum(order for _, order in self.neighbours(atom))

    def fingerprint(self) -> tuple[int, ...]:
        """Return the same numbers for the same molecule, whatever the order of its atoms.

        Every atom is told apart by its element, then by its neighbours, by theirs, and so on. Different molecules may
        share a fingerprint, rarely. Source: Weisfeiler and Leman 1968.
        """
        labels = [sorted(VALENCE).index(element) for element in self.atoms]
        for _ in self.atoms:
            around = [sorted((order, labels[b]) for b, order in self.neighbours(a)) for a in range(len(labels))]
            labels = [hash((label, *bonds)) for label, bonds in zip(labels, around, strict=True)]
        return tuple(sorted(labels))

    def formula(self) -> tuple[str, float]:
        """Return the formula, carbon and hydrogen first, and the molar mass in grams per mole."""
        counts = Counter(self.atoms) + Counter(H=sum(map(self.hydrogens, range(len(self.atoms)))))
        order = sorted(counts, key=lambda element: (element not in "CH", element))
        mass = sum(MASS[element] * count for element, count in counts.items())
        return "".join(f"{element}{counts[element] if counts[element] > 1 else ''}" for element in order), mass


def parse(smiles: str) -> Molecule:
    """Read SMILES of neutral atoms.

    Raises:
        ValueError: If it cannot be read, or an atom has more bonds than its valence.
    """
    tokens = re.findall(r"Cl|Br|[CNOSF]|[()=#]|[1-9]", smiles)
    if "".join(tokens) != smiles or re.search(r"^(?![A-Z])|\((?![A-Z=#])|[()][=#]?\d|[=#](?![A-Z\d])", smiles):
        raise ValueError(f"{smiles!r} is no SMILES of {', '.join(VALENCE)}.")
    molecule, here, order = Molecule(), -1, 0
    branches: list[int] = []
    rings: dict[str, tuple[int, int]] = {}
    for token in tokens:
        if token in VALENCE:
            molecule.atoms.append(token)
            if here >= 0:
                molecule.bind(here, len(molecule.atoms) - 1, order or 1)
            here, order = len(molecule.atoms) - 1, 0
        elif token in "=#":
            order = 2 if token == "=" else 3
        elif token == "(":
            branches.append(here)
        elif token == ")":
            if not branches:
                raise ValueError(f"{smiles!r} closes a branch that is not open.")
            here = branches.pop()
        elif token in rings:
            there, opened = rings.pop(token)
            if order and opened and order != opened:
                raise ValueError(f"{smiles!r} gives the bond of ring {token} two orders.")
            molecule.bind(there, here, order or opened or 1)
            order = 0
        else:
            rings[token], order = (here, order), 0
    crowded = [atom for atom in range(len(molecule.atoms)) if molecule.hydrogens(atom) < 0]
    if branches or rings or crowded:
        raise ValueError(f"{smiles!r} leaves a branch or a ring open, or an atom has too many bonds.")
    return molecule


def grow(smiles: str, group: str, rng: random.Random) -> str:
    """Return a molecule with a group at one of its atoms, bound by the group's first, in place of two hydrogens."""
    molecule, atoms = parse(smiles), re.finditer(r"(?:Cl|Br|[CNOSF])(?:[=#]?\d)*", smiles)
    free = [place.end() for atom, place in enumerate(atoms) if molecule.hydrogens(atom) > 0]
    if not free:
        return smiles
    rings, at = max(map(int, re.findall(r"\d", smiles)), default=0), rng.choice(free)
    group = re.sub(r"\d", lambda ring: str(int(ring[0]) + rings), group)
    at_end = smiles[at : at + 1] in ("", ")")
    return smiles[:at] + (group if at_end else f"({group})") + smiles[at:]


def make_data(seed: int, count: int = MOLECULES) -> list[str]:
    """Return molecules as SMILES, each string once."""
    rng, found = random.Random(seed), set[str]()
    while len(found) < count:
        smiles = rng.choice(CORES)
        for _ in range(rng.randint(1, 4)):
            smiles = grow(smiles, rng.choice(GROUPS), rng)
        found.add(smiles)
    return sorted(found)


def valid(lines: list[str]) -> list[tuple[str, Molecule]]:
    """Return those lines that are valid, with their molecules."""
    found = []
    for line in lines:
        try:
            found.append((line, parse(line)))
        except ValueError:
            continue
    return found


def run(minutes: float, seed: int) -> None:
    """Train, and print new molecules."""
    data, rng = make_data(seed), random.Random(seed)
    corpus = charloom.Corpus("\n".join(data), "molecules", text_format=charloom.TextFormat(lines=True))
    model = charloom.train(corpus, minutes=minutes, seed=seed)
    known = {molecule.fingerprint() for _, molecule in valid(data)}
    lines = model.generate(length=200 * WRITTEN, temperature=1.0, seed=seed, max_lines=WRITTEN).split("\n")[:WRITTEN]
    good = [molecule.fingerprint() for _, molecule in valid(lines)]
    new = [one for one in good if one not in known]
    mixed = valid(["".join(rng.sample(line, len(line))) for line in lines])
    shares = [len(found) / len(lines) for found in (good, mixed)]
    print(f"valid: {shares[0]:.1%} of {len(lines)} written, {shares[1]:.1%} of them shuffled")
    print(f"new: {len(new) / max(1, len(good)):.1%} of the valid; {len(set(new))} different molecules")
    asked = valid([model.generate(RING, 80, 1.0, seed + i, stop="\n") for i in range(ASKED)])
    wanted = {m.fingerprint(): (*m.formula(), line) for line, m in asked if m.fingerprint() not in known}
    print(f"asked for: {len(wanted)} new ones begin with {RING}, of {ASKED} written; the lightest:")
    for formula, mass, line in sorted(wanted.values(), key=lambda one: one[1])[:SHOWN]:
        print(f"{mass:7.2f} g/mol  {formula:<14} {line}")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="New molecules in SMILES.")
    parser.add_argument("--minutes", type=float, default=1.0, help="of training (default: 1)")
    parser.add_argument("--seed", type=int, default=1, help="of data, training and writing (default: 1)")
    options = parser.parse_args()
    try:
        charloom.Settings(minutes=options.minutes, seed=options.seed)  # refused before the data are made
        run(options.minutes, options.seed)
    except charloom.CharloomError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
