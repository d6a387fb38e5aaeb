"""Generate molecules: a model learns SMILES, a line notation of chemistry, and proposes molecules with a given ring.

    python examples/molecules.py

The script generates the data: 8,000 molecules of carbon, nitrogen, oxygen, sulfur and halogens, built from rings and
groups with single bonds between them. SMILES strings use explicit double bonds (C1=CC=CC=C1, not c1ccccc1). A small
parser reads SMILES and counts bonds: a molecule is valid if the string parses and no atom exceeds its valence.
Stereochemistry, charges and isotopes are ignored.

Output: of 500 generated strings, how many are valid, and how many of these are new (no molecule in the data has the
same structure), compared with the same strings with shuffled characters. Then new molecules that start with a given
ring, the lightest first, with formula and molar mass. Trains for a minute.
"""

import argparse
import random
import re
from collections import Counter
from dataclasses import dataclass, field

import charloom

MOLECULES, GENERATED, WITH_RING, SHOWN = 8000, 500, 100, 8  # in the data, generated freely, with a ring, printed
VALENCE = {"C": 4, "N": 3, "O": 2, "S": 2, "F": 1, "Cl": 1, "Br": 1}
MASS = {"H": 1.008, "C": 12.011, "N": 14.007, "O": 15.999, "S": 32.06, "F": 18.998, "Cl": 35.45, "Br": 79.904}
CORES = [
    "C1CCCCC1", "C1=CC=CC=C1", "C1=CC=NC=C1", "C1CCNC1", "C1=COC=C1", "C1CNCCN1", "CCC", "CCCC", "C1CC1", "C1=CSC=C1",
]  # fmt: skip
GROUPS = [
    "C", "C", "C", "CC", "CC(C)C", "N", "O", "S", "F", "Cl", "Br", "C=O", "C#N", "C(=O)O", "C(=O)N", "C=C", "OC",
    "C1=CC=CC=C1", "C1CCCC1", "C1CCOCC1", "C1CC1",
]  # fmt: skip
RING = "C1CCNC1"  # start of the requested molecules


@dataclass
class Molecule:
    """A molecule: the element of each atom, and bonds as {(lower index, higher index): bond order 1, 2 or 3}."""

    atoms: list[str] = field(default_factory=list)
    bonds: dict[tuple[int, int], int] = field(default_factory=dict)

    def bind(self, a: int, b: int, order: int) -> None:
        """Add a bond; raises ``ValueError`` if it exists or connects an atom to itself."""
        pair = (min(a, b), max(a, b))
        if a == b or pair in self.bonds:
            raise ValueError(f"Atoms {a} and {b} are the same atom or already have a bond.")
        self.bonds[pair] = order

    def neighbors(self, atom: int) -> list[tuple[int, int]]:
        """Return the neighbors of an atom, each with the order of its bond."""
        return [(sum(pair) - atom, order) for pair, order in self.bonds.items() if atom in pair]

    def hydrogens(self, atom: int) -> int:
        """Return the number of implicit hydrogens of an atom; negative if it exceeds its valence."""
        return VALENCE[self.atoms[atom]] - sum(order for _, order in self.neighbors(atom))

    def fingerprint(self) -> tuple[int, ...]:
        """Return a fingerprint that does not depend on the order of the atoms.

        Labels start as elements and are refined by the labels of neighbors. Different molecules rarely share a
        fingerprint. Source: Weisfeiler and Leman 1968.
        """
        labels = [sorted(VALENCE).index(element) for element in self.atoms]
        for _ in self.atoms:
            around = [sorted((order, labels[b]) for b, order in self.neighbors(a)) for a in range(len(labels))]
            labels = [hash((label, *bonds)) for label, bonds in zip(labels, around, strict=True)]
        return tuple(sorted(labels))

    def formula(self) -> tuple[str, float]:
        """Return the molecular formula, carbon and hydrogen first, and the molar mass in g/mol."""
        counts = Counter(self.atoms) + Counter(H=sum(map(self.hydrogens, range(len(self.atoms)))))
        order = sorted(counts, key=lambda element: (element not in "CH", element))
        mass = sum(MASS[element] * count for element, count in counts.items())
        return "".join(f"{element}{counts[element] if counts[element] > 1 else ''}" for element in order), mass


def parse(smiles: str) -> Molecule:
    """Parse a SMILES string of neutral atoms.

    Raises:
        ValueError: If the string does not parse or an atom exceeds its valence.
    """
    tokens = re.findall(r"Cl|Br|[CNOSF]|[()=#]|[1-9]", smiles)
    if "".join(tokens) != smiles or re.search(r"^(?![A-Z])|\((?![A-Z=#])|[()][=#]?\d|[=#](?![A-Z\d])", smiles):
        raise ValueError(f"{smiles!r} is not a SMILES string of {', '.join(VALENCE)}.")
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
                raise ValueError(f"{smiles!r} closes a branch that was not opened.")
            here = branches.pop()
        elif token in rings:
            there, opened = rings.pop(token)
            if order and opened and order != opened:
                raise ValueError(f"{smiles!r} gives ring bond {token} two different orders.")
            molecule.bind(there, here, order or opened or 1)
            order = 0
        else:
            rings[token], order = (here, order), 0
    crowded = [atom for atom in range(len(molecule.atoms)) if molecule.hydrogens(atom) < 0]
    if branches or rings or crowded:
        raise ValueError(f"{smiles!r} leaves a branch or ring open, or an atom has too many bonds.")
    return molecule


def grow(smiles: str, group: str, rng: random.Random) -> str:
    """Return the molecule with a group attached to a random atom that has a free hydrogen."""
    molecule, atoms = parse(smiles), re.finditer(r"(?:Cl|Br|[CNOSF])(?:[=#]?\d)*", smiles)
    free = [place.end() for atom, place in enumerate(atoms) if molecule.hydrogens(atom) > 0]
    if not free:
        return smiles
    rings, at = max(map(int, re.findall(r"\d", smiles)), default=0), rng.choice(free)
    group = re.sub(r"\d", lambda ring: str(int(ring[0]) + rings), group)
    at_end = smiles[at : at + 1] in ("", ")")
    return smiles[:at] + (group if at_end else f"({group})") + smiles[at:]


def make_data(seed: int, count: int = MOLECULES) -> list[str]:
    """Return distinct SMILES strings."""
    rng, strings = random.Random(seed), set[str]()
    while len(strings) < count:
        smiles = rng.choice(CORES)
        for _ in range(rng.randint(1, 4)):
            smiles = grow(smiles, rng.choice(GROUPS), rng)
        strings.add(smiles)
    return sorted(strings)


def valid(lines: list[str]) -> list[tuple[str, Molecule]]:
    """Return the valid lines with their molecules."""
    molecules = []
    for line in lines:
        try:
            molecules.append((line, parse(line)))
        except ValueError:
            continue
    return molecules


def run(minutes: float, seed: int) -> None:
    """Train and print new molecules."""
    data, rng = make_data(seed), random.Random(seed)
    corpus = charloom.Corpus("\n".join(data), "molecules", text_format=charloom.TextFormat(lines=True))
    model = charloom.train(corpus, minutes=minutes, seed=seed)
    known = {molecule.fingerprint() for _, molecule in valid(data)}
    lines = model.generate(length=200 * GENERATED, temperature=1.0, seed=seed, max_lines=GENERATED).split("\n")[
        :GENERATED
    ]
    good = [molecule.fingerprint() for _, molecule in valid(lines)]
    new = [fingerprint for fingerprint in good if fingerprint not in known]
    mixed = valid(["".join(rng.sample(line, len(line))) for line in lines])
    shares = [len(part) / len(lines) for part in (good, mixed)]
    print(f"valid: {shares[0]:.1%} of {len(lines)} generated, {shares[1]:.1%} with shuffled characters")
    print(f"new: {len(new) / max(1, len(good)):.1%} of the valid ones; {len(set(new))} distinct molecules")
    with_ring = valid([model.generate(RING, 80, 1.0, seed + i, stop="\n") for i in range(WITH_RING)])
    proposed = {m.fingerprint(): (*m.formula(), line) for line, m in with_ring if m.fingerprint() not in known}
    print(f"with {RING}: {len(proposed)} new molecules of {WITH_RING} generated; the lightest:")
    for formula, mass, line in sorted(proposed.values(), key=lambda row: row[1])[:SHOWN]:
        print(f"{mass:7.2f} g/mol  {formula:<14} {line}")


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description="Generate molecules in SMILES.")
    parser.add_argument("--minutes", type=float, default=1.0, help="training time (default: 1)")
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
