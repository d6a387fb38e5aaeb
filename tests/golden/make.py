"""Made the data that ``test_compatibility.py`` compares with, once, with the code of commit 8fdae04.

It is kept for the record: it says how every file in ``data`` came about. Its imports are those of that commit, so that
it does not run with later ones. To make data for something new, add a function to ``observing.py``, and store what it
returns with the last commit whose behaviour is to be kept.

    python tests/golden/make.py
"""

import itertools
import json
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import observing
from observing import DATA, FORMS, MODELS, RUNS, TEXT_TIME, store

import charloom
from charloom.bulk.runner import run_partition
from charloom.model.file.model_file import save_model
from charloom.planning.recipes import load_recipe
from charloom.training.run import run_training

NOUNS = [
    "miller",
    "river",
    "clock",
    "letter",
    "garden",
    "lamp",
    "window",
    "mountain",
    "baker",
    "café",
    "road",
    "sister",
    "horse",
    "winter",
    "bridge",
]
VERBS = ["sees", "hears", "follows", "forgets", "opens", "carries", "remembers", "finds"]
KINDS = ["old", "quiet", "long", "little", "warm", "strange", "green", "naïve"]
ENDS = [".", ".", ".", "!", "?", " — and then nothing.", ", “so it is.”"]


def write_texts():
    """Write three small texts that follow from a seed alone."""
    rng = np.random.Generator(np.random.Philox(key=2024))

    def one_of(words):
        return words[int(rng.integers(len(words)))]

    story = ""
    while len(story) < 6000:
        sentence = f"The {one_of(KINDS)} {one_of(NOUNS)} {one_of(VERBS)} the {one_of(NOUNS)}{one_of(ENDS)}"
        story += sentence + one_of([" ", " ", "\n", "\n\n"])
    story += "\n"
    parts = [a + b for a, b in itertools.product("BDKLMNRST", ("a", "e", "i", "o"))]
    names = ["".join(one_of(parts).lower() for _ in range(int(rng.integers(1, 5)))).capitalize() for _ in range(420)]
    names[17] = ""  # empty lines are left out
    (DATA / "story.txt").write_text(story, encoding="utf-8", newline="\n")
    (DATA / "names.txt").write_text("\n".join(names) + "\n", encoding="utf-8", newline="\n")
    (DATA / "short.txt").write_text(story[:240] + "\n", encoding="utf-8", newline="\n")
    rows = "".join(f"{i},{name}\n" for i, name in enumerate(names[:40]) if name)
    (DATA / "table.csv").write_text("number,name\n" + rows, encoding="utf-8", newline="\n")


def make_runs():
    """Train runs and stop them in the middle."""
    observing.one_thread()
    for name, run in RUNS.items():
        stop_at, seen = run["stop"], []

        def stop(stop_at=stop_at, seen=seen):
            return len(seen) >= stop_at - 1

        recipe = load_recipe("auto").with_values(run["settings"])
        folder = str(DATA / "runs" / name)
        for record in run_training(observing.corpus_of(name, DATA), recipe, folder, "cpu", stop):
            if "grad_norm" in vars(record) and "is_best" not in vars(record):
                seen.append(record)
        assert len(seen) == stop_at and record.interrupted, (name, len(seen))


def make_models():
    """Write models in all forms: those of finished runs, and some with random weights."""
    (DATA / "models").mkdir()
    letters = "\n abcdenrstABM,."
    saved = {
        "gru-1-old": observing.untrained(letters, "gru", (6, 20, 1), seed=31, reset_after=False),
        "lstm-1": observing.untrained(letters, "lstm", (6, 20, 1), seed=32),
    }
    for form in FORMS:
        for name, model in saved.items():
            save_model(observing.model_path(DATA, name, form), model)
            charloom.load(observing.model_path(DATA, name)).save(observing.model_path(DATA, name, form), form)
    for name, run in {"gru-1": "gru", "gru-2-bytes": "bytes", "lstm-2-lines": "lstm"}.items():
        with tempfile.TemporaryDirectory() as place:
            folder = copied(place)
            observing.resumed(run, folder)
            for form in FORMS:
                charloom.load(folder / "runs" / run).save(observing.model_path(DATA, name, form), form)
    assert len(list((DATA / "models").iterdir())) == len(MODELS) * len(FORMS)


def make_bulk():
    """Make two bulk jobs and do about half of each."""
    for name in ("story.txt", "names.txt"):
        os.utime(DATA / name, (TEXT_TIME, TEXT_TIME))
    for job in observing.bulk_jobs(DATA):
        for number in range(0, job.partitions, 2):
            assert "refused" not in run_partition(str(job.folder), job.digest, number)


def make_tuning():
    """Search for half a minute, and take the machine's name out of what is left."""
    words = [*observing.tuning_words(0.009), "--minutes", 0.05]
    code, out, err = observing.command([*words, "--json"], DATA)
    assert code == 0, err
    print(out)
    journal = DATA / "tuning" / "journal.log"
    journal.write_text(journal.read_text().replace(f'"{platform.node()}"', '"elsewhere"'), newline="\n")
    shutil.rmtree(DATA / "tuning" / "alive", ignore_errors=True)


def copied(place):
    """Return a copy of the data as it is now, made in a new folder in this one."""
    return observing.workspace(Path(place) / "work", bulk=True)


def observe(name, look):
    """Store what a function finds in a copy of the data."""
    with tempfile.TemporaryDirectory() as place:
        store(name, look(copied(place)))
    print(name, (DATA / f"{name}.json").stat().st_size)


def observe_training():
    """Store what trainings come to; stopped ones must come to the same as those that were not."""
    found = {"whole": {}, "resumed": {}}
    for name in observing.WHOLE:
        with tempfile.TemporaryDirectory() as place:
            found["whole"][name] = observing.trained(name, copied(place))
    for name in RUNS:
        with tempfile.TemporaryDirectory() as place:
            found["resumed"][name] = observing.resumed(name, copied(place))
        same = [found[how][name]["last"] for how in ("whole", "resumed")]
        assert same[0] == same[1], f"{name}: stopping has changed the result"
    with tempfile.TemporaryDirectory() as place:
        earlier = observing.resumed("gru", copied(place), before=25)
    assert earlier["last"] == found["resumed"]["gru"]["last"]
    with tempfile.TemporaryDirectory() as place:
        found["lengthened"] = observing.lengthened(copied(place))
    store("training", {"platform": observing.platform_facts(), **found})


def main():
    """Make all of it anew."""
    os.environ.pop("CHARLOOM_ISA", None)
    os.environ.pop("CHARLOOM_ENGINE", None)
    steps = sys.argv[1:]
    if not steps:
        shutil.rmtree(DATA, ignore_errors=True)
        DATA.mkdir()
        write_texts()
        make_runs()
        make_models()
        make_bulk()
        make_tuning()
    looks = {
        "batches": observing.batches,
        "first_weights": lambda _: observing.first_weights(),
        "model_files": observing.model_files,
        "exports": observing.exports,
        "texts": lambda folder: {
            "int8": observing.texts(folder, "int8"),
            "float32": observing.texts(folder, "float32"),
            "forms": observing.texts_of_forms(folder),
        },
        "scores": observing.scores,
        "bulk": observing.bulk,
        "tuning_output": observing.tuning,
        "public_names": lambda _: observing.public_names(),
        "import_paths": lambda _: [[*path, observing.kind_of(*path)] for path in observing.documented_paths()],
        "options": lambda _: observing.options(),
        "settings": lambda _: observing.settings(),
        "outputs": observing.outputs,
        "run_folders": observing.run_folder_rows,
        "server": observing.served,
    }
    if not steps or "training" in steps:
        observe_training()
    for name, look in looks.items():
        if not steps or name in steps:
            observe(name, look)
    text = "".join(path.read_text(errors="replace") for path in DATA.rglob("*") if path.is_file())
    assert str(DATA.parents[1]) not in text, "a path of this machine is in the data"
    assert f'"{platform.node()}"' not in text, "the name of this machine is in the data"
    print(json.dumps(observing.platform_facts()))


if __name__ == "__main__":
    main()
