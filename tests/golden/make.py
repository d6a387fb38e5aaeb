"""The script that created the golden data of ``test_compatibility.py`` with the code of commit 8fdae04.

It documents how every file in ``data`` was created. It imports modules of that commit, so it does not run with later
code. To add data for something new, add a function to ``observing.py`` and store its result with the last commit whose
behavior must be preserved.

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
    """Write three small texts that depend only on a seed."""
    rng = np.random.Generator(np.random.Philox(key=2024))

    def choose(words):
        return words[int(rng.integers(len(words)))]

    story = ""
    while len(story) < 6000:
        sentence = f"The {choose(KINDS)} {choose(NOUNS)} {choose(VERBS)} the {choose(NOUNS)}{choose(ENDS)}"
        story += sentence + choose([" ", " ", "\n", "\n\n"])
    story += "\n"
    parts = [a + b for a, b in itertools.product("BDKLMNRST", ("a", "e", "i", "o"))]
    names = ["".join(choose(parts).lower() for _ in range(int(rng.integers(1, 5)))).capitalize() for _ in range(420)]
    names[17] = ""  # empty lines are dropped
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
    """Write models in all number formats: those of finished runs, and some with random weights."""
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
        with tempfile.TemporaryDirectory() as folder_name:
            folder = copied(folder_name)
            observing.resumed(run, folder)
            for form in FORMS:
                charloom.load(folder / "runs" / run).save(observing.model_path(DATA, name, form), form)
    assert len(list((DATA / "models").iterdir())) == len(MODELS) * len(FORMS)


def make_bulk():
    """Create two bulk jobs and run about half of their partitions."""
    for name in ("story.txt", "names.txt"):
        os.utime(DATA / name, (TEXT_TIME, TEXT_TIME))
    for job in observing.bulk_jobs(DATA):
        for number in range(0, job.partitions, 2):
            assert "refused" not in run_partition(str(job.folder), job.digest, number)


def make_tuning():
    """Search for half a minute and remove the machine's name from the journal."""
    words = [*observing.tuning_words(0.009), "--minutes", 0.05]
    code, out, err = observing.command([*words, "--json"], DATA)
    assert code == 0, err
    print(out)
    journal = DATA / "tuning" / "journal.log"
    journal.write_text(journal.read_text().replace(f'"{platform.node()}"', '"elsewhere"'), newline="\n")
    shutil.rmtree(DATA / "tuning" / "alive", ignore_errors=True)


def copied(folder_name):
    """Copy the current data into a new subfolder and return its path."""
    return observing.workspace(Path(folder_name) / "work", bulk=True)


def observe(name, look):
    """Store the result of a function that observes a copy of the data."""
    with tempfile.TemporaryDirectory() as folder_name:
        store(name, look(copied(folder_name)))
    print(name, (DATA / f"{name}.json").stat().st_size)


def observe_training():
    """Store the results of training runs. Stopped and resumed runs must equal uninterrupted ones."""
    result = {"whole": {}, "resumed": {}}
    for name in observing.WHOLE:
        with tempfile.TemporaryDirectory() as folder_name:
            result["whole"][name] = observing.trained(name, copied(folder_name))
    for name in RUNS:
        with tempfile.TemporaryDirectory() as folder_name:
            result["resumed"][name] = observing.resumed(name, copied(folder_name))
        same = [result[how][name]["last"] for how in ("whole", "resumed")]
        assert same[0] == same[1], f"{name}: stopping changed the result"
    with tempfile.TemporaryDirectory() as folder_name:
        earlier = observing.resumed("gru", copied(folder_name), before=25)
    assert earlier["last"] == result["resumed"]["gru"]["last"]
    with tempfile.TemporaryDirectory() as folder_name:
        result["lengthened"] = observing.lengthened(copied(folder_name))
    store("training", {"platform": observing.platform_facts(), **result})


def main():
    """Create all data, or only the given parts."""
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
