"""The example scripts: their data generators and checks compared with known facts, and complete runs."""

import importlib
import random
import re
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from itertools import permutations

import pytest

import charloom
from support.documents import blocks
from support.paths import ROOT

PAGE = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
SCRIPTS = ("names", "poems", "code_typos", "molecules", "music", "logs", "passwords")


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    return importlib.import_module


# molecules: formulas and molar masses from handbooks


@pytest.mark.parametrize(("smiles", "formula", "mass"), [
    ("C", "CH4", 16.04), ("CCO", "C2H6O", 46.07), ("C1=CC=CC=C1", "C6H6", 78.11), ("CC#N", "C2H3N", 41.05),
    ("CC(=O)OC1=CC=CC=C1C(=O)O", "C9H8O4", 180.16), ("CN1C=NC2=C1C(=O)N(C(=O)N2C)C", "C8H10N4O2", 194.19),
    ("ClC(Cl)Cl", "CHCl3", 119.37), ("BrCCF", "C2H4BrF", 126.96), ("C1CC2CCC1CC2", "C8H14", 110.20),
    ("C=1C=CC=CC=1", "C6H6", 78.11), ("C1=CSC=C1", "C4H4S", 84.14),
])  # fmt: skip
def test_formula_and_mass_of_known_molecules(script, smiles, formula, mass):
    result = script("molecules").parse(smiles).formula()
    assert result == (formula, pytest.approx(mass, abs=0.015))


@pytest.mark.parametrize("smiles", [
    "", "X", "c1ccccc1", "C(", "C)", "(C)C", "C()C", "C((C))C", "C(C", "C1CC", "C11", "C1C1", "C12CC12", "C=", "=C",
    "C==C", "C(=)C", "C=(C)C", "C(1)CC1", "C(C)1CC1", "C(=1)CC1", "C=1CCCC#1", "FC=F", "O=C=O=C", "CO(C)C",
    "C(C)(C)(C)(C)C", "N(C)(C)(C)C", "C#C#C", "CFC", "C C", "C\n",
])  # fmt: skip
def test_invalid_smiles_is_rejected(script, smiles):
    with pytest.raises(ValueError):
        script("molecules").parse(smiles)


def test_equivalent_smiles_have_the_same_fingerprint(script):
    parse = script("molecules").parse
    same = [
        ["CCO", "OCC", "C(O)C"],
        ["C1=CC=CC=C1O", "OC1=CC=CC=C1", "C1(O)=CC=CC=C1"],
        ["COC"],
        ["C1CC1CC", "CCC1CC1"],
    ]
    prints = [{parse(smiles).fingerprint() for smiles in group} for group in same]
    assert [len(group) for group in prints] == [1] * 4
    assert len(set.union(*prints)) == 4  # ethanol differs from its isomer


def test_generated_molecules_are_valid_and_reproducible(script):
    molecules = script("molecules")
    data = molecules.make_data(5, 200)
    assert data == molecules.make_data(5, 200) != molecules.make_data(6, 200)
    assert len(set(data)) == 200 == len(molecules.valid([*data, "C(", "FF="]))
    assert any(re.search(r"3.*3", smiles) for smiles in data), "rings within rings get new numbers"


# music


@pytest.mark.parametrize(("bar", "length"), [
    ("A", 1), ("A2 B2", 4), ("A/2", Fraction(1, 2)), ("A/", Fraction(1, 2)), ("A3/2B/2", 2), ("^f'2 _B, =c z4", 8),
    ("A12", 12), ("", 0),
])  # fmt: skip
def test_bar_length_follows_the_abc_standard(script, bar, length):
    assert script("music").length_of(bar) == length


@pytest.mark.parametrize("bar", ["H2", "A0", "A/0", "A2 ?", "2A", "A//2", "T:"])
def test_invalid_bar_is_rejected(script, bar):
    with pytest.raises(ValueError, match=re.escape(repr(bar))):
        script("music").length_of(bar)


def test_bars_are_compared_with_the_meter(script):
    music = script("music")
    # the first part of "Speed the Plough", a traditional reel, and the same with one note more and one note less
    reel = "M:4/4\nL:1/8\nK:G\n|:GABc dedB|dedB dedB|c2ec B2dB|c2A2 A2BA|\nGABc dedB|dedB dedB|c2ec B2dB|A2F2 G4:|"
    assert music.correct_bars(reel) == [True] * 8
    assert music.correct_bars(reel.replace("|dedB dedB|\n", "").replace("A2F2 G4", "A2F2 G4G")) == [True] * 7 + [False]
    assert music.correct_bars(reel.replace("c2A2 A2BA", "c2A2 A2B")).index(False) == 3
    assert not any(music.correct_bars(reel.replace("M:4/4", "M:6/8")))
    assert music.correct_bars(reel.replace("dedB|d", "dedX|d", 1))[0] is False
    assert (
        music.is_correct(reel)
        and not music.is_correct(reel + "\nGABc dedB|")
        and not music.is_correct("M:4/4\nL:1/8\nK:G\n")
    )
    assert music.correct_bars("M:4/4\nL:1/8\nK:G\nG8|\nM:6/8\nG6|") == [True, False, False], (
        "only the header sets the metre"
    )
    for head in ("M:4/4\nL:1/8\nA|", "M:4/0\nL:1/8\nK:G\nA|", "L:1/8\nK:G\nA|"):
        with pytest.raises(ValueError, match="M:"):
            music.correct_bars(head)


def test_generated_tunes_are_correct_and_shuffling_breaks_them(script):
    music = script("music")
    rng = random.Random(3)
    tunes = [music.make_tune(rng) for _ in range(100)]
    judged = [music.correct_bars(tune) for tune in tunes]
    assert all(len(bars) == 8 and all(bars) for bars in judged)
    mixed = [music.shuffled(tune, rng) for tune in tunes]
    for tune, other in zip(tunes, mixed, strict=True):
        before, after = (music.NOTE.findall(text.split("\nK:")[1]) for text in (tune, other))
        assert [note[0] for note in before] == [note[0] for note in after]
        assert Counter(note[1:] for note in before) == Counter(note[1:] for note in after)
    assert sum(all(music.correct_bars(tune)) for tune in mixed) < 10
    assert music.make_tune(random.Random(3)) == tunes[0]


# logs


def test_auc_is_the_share_of_correctly_ordered_pairs(script):
    rng = random.Random(11)
    for _ in range(200):
        count = rng.randrange(2, 30)
        values = [float(rng.randrange(8)) for _ in range(count)]  # many are equal
        marks = [True, False] + [rng.random() < 0.3 for _ in range(count - 2)]
        positives = [value for value, mark in zip(values, marks, strict=True) if mark]
        negatives = [value for value, mark in zip(values, marks, strict=True) if not mark]
        wins = sum((value > other) + (value == other) / 2 for value in positives for other in negatives)
        assert script("logs").auc(values, marks) == pytest.approx(wins / (len(positives) * len(negatives)))


@pytest.mark.parametrize("marks", [[True, True], [False, False]])
def test_auc_needs_both_classes(script, marks):
    with pytest.raises(ValueError, match=rf"\b{sum(marks)}\b"):
        script("logs").auc([1.0, 2.0], marks)


NORMAL = re.compile(
    r"\d\d:\d\d:\d\d ("
    r"INFO  api    GET /\w+/\d+ 200 \d+ms user=\w+|INFO  api    POST /\w+ 201 \d+ms user=\w+"
    r"|WARN  api    GET /\w+/\d+ 404 \d+ms user=\w+|INFO  auth   login user=\w+ from=10\.0\.[0-3]\.\d+"
    r"|WARN  auth   wrong password user=\w+ from=10\.0\.[0-3]\.\d+|INFO  db     query table=\w+ rows=\d+ \d+ms"
    r"|INFO  mail   sent template=receipt to=\w+@example\.org|INFO  backup wrote \d+ MB in \d+ s)"
)


def test_marked_lines_are_exactly_the_anomalies(script):
    logs = script("logs")
    lines, marks = logs.make_day(random.Random(2), 600, 300)
    assert sum(marks) == 300 and marks != sorted(marks, reverse=True)
    assert [NORMAL.fullmatch(line) is None for line in lines] == marks
    assert [line[:8] for line in lines] == sorted(line[:8] for line in lines)
    assert (lines, marks) == logs.make_day(random.Random(2), 600, 300)


# passwords


def test_guess_numbers_are_exact_for_exact_samples(script):
    # probabilities 1/2, 1/4, 1/8, 1/8, and eight samples with exactly these frequencies
    samples = [1.0] * 4 + [2.0] * 2 + [3.0, 3.0]
    assert script("passwords").guesses([1.0, 2.0, 3.0, 3.5], samples) == [0, 1, 2, 4]


def test_rank_correlation_equals_spearman(script):
    rank_correlation = script("passwords").rank_correlation
    assert rank_correlation([1, 5, 9], [10, 20, 21]) == pytest.approx(1)
    assert rank_correlation([1, 5, 9], [3, 2, 1]) == pytest.approx(-1)
    for order in permutations(range(5)):  # without ties: 1 - 6 x sum of squared differences / (n (n^2 - 1))
        squares = sum((i - place) ** 2 for i, place in enumerate(order))
        assert rank_correlation(range(5), order) == pytest.approx(1 - 6 * squares / 120)
    assert script("passwords").ranks([7, 7, 1, 9]) == [1.5, 1.5, 0, 3]


def test_passwords_occur_with_their_probability(script):
    generator = script("passwords").PasswordGenerator(4)
    made = [generator.password() for _ in range(20_000)]
    truth = dict(made)
    for password, times in Counter(text for text, _ in made).most_common(20):
        expected = len(made) * 2 ** -truth[password]
        assert abs(times - expected) < 5 * expected**0.5, password
    repeated = script("passwords").PasswordGenerator(4)
    assert [repeated.password() for _ in range(50)] == made[:50]


def test_counted_bits_use_the_character_classes(script):
    counted = script("passwords").counted_bits
    assert counted("1111") == pytest.approx(4 * 3.3219, abs=1e-3)
    assert counted("aA1") == pytest.approx(3 * 5.9542, abs=1e-3)  # 62 characters
    assert counted("") == 0


# poems, names, code


def test_poems_rhyme_in_pairs(script):
    poems = script("poems")
    assert poems.rhyme("the night", "a light") and not poems.rhyme("the night", "my night")
    assert not poems.rhyme("the night", "the day") and not poems.rhyme("", "the day") and not poems.rhyme("x", "y")
    rng = random.Random(1)
    for _ in range(100):
        first, second, third, fourth = poems.make_poem(rng).split("\n")
        assert poems.rhyming_share([(first, second), (third, fourth)]) == 1 and not poems.rhyme(second, third)
    words = [word for group in poems.RHYMES for word in group]
    assert len(set(words)) == len(words), "a word in two groups would rhyme with both"
    assert len({opener[0] for opener in poems.OPENERS}) == len(poems.OPENERS)
    assert poems.make_poem(random.Random(1)) == poems.make_poem(random.Random(1))


@pytest.mark.parametrize(("line", "valid"), [
    ("river Lawen", True), ("river Laewen", True), ("river Lanelnor", True), ("hill Grakrum", True),
    ("sea Mailani", True), ("sea Lawen", False), ("river Wen", False), ("hill Grakrumx", False),
    ("river Lanalawen", True), ("river Lalalalawen", False),
])  # fmt: skip
def test_names_follow_the_sound_rules(script, line, valid):
    assert script("names").valid_share([line]) == valid


def test_generated_names_are_valid_and_reproducible(script):
    names = script("names")
    data = names.make_data(1)
    assert names.valid_share(data) == 1 and data == names.make_data(1) != names.make_data(2)
    mixed = names.shuffled(data, random.Random(0))
    assert names.valid_share(mixed) < 0.1
    assert [sorted(line) for line in mixed] == [sorted(line) for line in data]


def test_typos_swap_adjacent_characters(script):
    typos = script("code_typos")
    assert list(typos.swaps("if aab_c:")) == ["fi aab_c:", "if aba_c:"]
    page = ["x = 1", "    return self", "aa"]
    for seed in range(20):
        slipped, at = typos.plant(page, random.Random(seed))
        assert at == 1 and slipped[:1] + slipped[2:] == [page[0], page[2]]
        assert slipped[1] != page[1] and page[1] in typos.swaps(slipped[1])


def test_lines_are_distinct_and_ascii(script, tmp_path):
    typos = script("code_typos")
    (tmp_path / "a.py").write_text("import this_one\nimport this_one\nx = 1\n    café = 'brown'\n" + "y" * 101 + "\n")
    assert typos.read_lines([tmp_path / "a.py"]) == ["import this_one"]
    assert typos.read_lines([tmp_path / "a.py"] * 2) == ["import this_one"]


# the scripts


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize(
    "arguments", [["--minutes", "soon"], ["--minutes", "-1"], ["--seed", "-1"], ["--color", "red"]]
)
def test_invalid_arguments_exit_with_2(script, name, arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    with pytest.raises(SystemExit) as ended:
        script(name).main()
    output = capsys.readouterr()
    assert ended.value.code == 2 and not output.out
    assert arguments[0].strip("-") in output.err


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("music", ["--output", "there.abc"]),
        ("music", ["--output", "nowhere/tunes.abc"]),
        ("poems", ["--word", "loom"]),
        ("poems", ["--word", ""]),
    ],
)
def test_bad_options_are_reported_before_training(script, name, arguments, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.abc").write_text("mine")
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    with pytest.raises(SystemExit) as ended:
        script(name).main()
    assert ended.value.code == 2 and arguments[0] in capsys.readouterr().err
    assert (tmp_path / "there.abc").read_text() == "mine"


def shape(text):
    """Return the lines that contain results, with every number replaced by 0."""
    return [
        re.sub(r" *\d[\d.,]*", " 0", line) for line in text.splitlines() if re.match(r"\w[\w ,/]*: .*\d|AUC ", line)
    ]


# Patterns of the result that each script prints: the figure and its baseline, which must be lower.
RESULT = {
    "names": r"valid: ([\d.]+)% of the new names, ([\d.]+)%",
    "poems": r"rhyme: ([\d.]+)% of \d+ pairs of lines, ([\d.]+)%",
    "code_typos": r"found: ([\d.]+)% .*\n.*by chance ([\d.]+)%",
    "molecules": r"valid: ([\d.]+)% .*, ([\d.]+)% with shuffled characters",
    "music": r"all: ([\d.]+)% .*\nshuffled: ([\d.]+)%",
    "logs": r"AUC +([\d.]+)%  highest surprisal of a character(?:.*\n)+AUC +([\d.]+)%  length",
    "passwords": r"model ([\d.]+)%, length ([\d.]+)%",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_script_beats_its_baseline_and_prints_the_documented_lines(script, name, monkeypatch, capsys, tmp_path):
    train = charloom.train

    def quick(corpus, minutes, **options):
        assert minutes > 0
        sizes = {"hidden_size": 192, "batch_size": 64, "steps": 800, "seq_length": 64}
        if name == "poems":  # rhymes are learned late
            sizes |= {"hidden_size": 384, "batch_size": 32, "steps": 2200}
        return train(corpus, progress=False, **(sizes | options))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(charloom, "train", quick)
    monkeypatch.setattr(sys, "argv", [name])
    script(name).main()
    printed = capsys.readouterr().out
    figure, baseline = map(float, re.search(RESULT[name], printed).groups())
    assert figure > baseline + 5, printed
    (shown,) = [block for block in blocks("console", PAGE) if block.startswith(f"$ python examples/{name}.py")]
    assert set(shape(shown)) <= set(shape(printed))


@pytest.mark.slow
def test_script_runs_from_the_command_line(tmp_path):
    command = [sys.executable, str(ROOT / "examples" / "music.py"), "--minutes", "0.1", "--output", "mine.abc"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(RESULT["music"], done.stdout) and (tmp_path / "mine.abc").exists()
    assert "music" in done.stderr and (tmp_path / "runs" / "music").is_dir()


def test_page_shows_every_script_once():
    assert tuple(re.findall(r"^\$ python examples/(\w+)\.py", PAGE, re.M)) == SCRIPTS
