"""Train both editions of the TensorFlow tutorial again and compare with the losses they publish.

    python benchmarks/reproduce.py          (`make reproduce`; one hour on two cores with bfloat16, two without)

Trains each recipe with `charloom train` and with the custom loop (`examples/open_loop.py`), and once more the GRU
with its state reset at every window and the LSTM with its state carried. Complete runs under runs/reproduce are kept,
so a stopped script resumes. Writes results/reproduction.json, docs/reproduction.png and docs/results.md. The last
line is JSON.
"""

import argparse
import json
import math
import platform
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

import charloom
from charloom.inference.engines.folding import fold
from charloom.inference.engines.numpy import NumpyEngine
from charloom.model.initializers import initial_weights
from charloom.planning.recipes import RECIPES
from charloom.training.backends.torch.device import choose_device
from charloom.training.batches import make_batches
from machine import processor
from pages import write_pages
from reproduction_tables import REPRODUCTION, draw

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "runs" / "reproduce"
DOCS = ROOT / "docs"
EPOCHS = 10
OPEN_LOOP = [sys.executable, "examples/open_loop.py"]
CHARLOOM = [sys.executable, "-m", "charloom", "train"]
CARRIED = ["--set", "reset_state=never", "--set", "shuffle=epoch"]  # as in the code of the LSTM edition
COMMANDS = {
    "gru-simple": [*CHARLOOM, "shakespeare", "--recipe", "tutorial-gru", "-o"],
    "lstm-simple": [*CHARLOOM, "shakespeare", "--recipe", "tutorial-lstm", "-o"],
    "gru-open": [*OPEN_LOOP, "shakespeare", "--recipe", "tutorial-gru", "--output"],
    "lstm-open": [*OPEN_LOOP, "shakespeare", "--recipe", "tutorial-lstm", "--set", "adam_epsilon=1e-8", "--output"],
    "gru-reset": [*CHARLOOM, "shakespeare", "--recipe", "tutorial-gru", "--set", "reset_state=window", "-o"],
    "lstm-carried": [*CHARLOOM, "shakespeare", "--recipe", "tutorial-lstm", *CARRIED, "-o"],
}
PROMPTS, TEMPERATURES, SAMPLE_LENGTH = ("ROMEO: ", "Q"), (0.2, 0.5, 1.0), 1000


def main():
    parser = argparse.ArgumentParser(description="Train both editions of the tutorial again.")
    parser.add_argument("--no-training", action="store_true", help="only rebuild the page from complete runs")
    if not parser.parse_args().no_training:
        for name in COMMANDS:
            train(name)
    complete = [name for name in COMMANDS if is_complete(RUNS / name)]
    facts = {
        "machine": machine(),
        "corpus": corpus_facts(),
        "untrained": {cell: untrained(cell) for cell in ("gru", "lstm")},
        "runs": {name: run_facts(name) for name in complete},
        "samples": {cell: samples(cell) for cell in ("gru", "lstm")},
        "greedy": {cell: greedy(cell) for cell in ("gru", "lstm")},
    }
    REPRODUCTION.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draw(facts["runs"], DOCS / "reproduction.png")
    write_pages()
    last = {name: run["epochs"][-1] for name, run in facts["runs"].items()}
    print(json.dumps({"benchmark": "reproduce", "last_epoch": last, "machine": facts["machine"]}))


def train(name):
    """Train a run unless it is complete; an incomplete run starts again."""
    folder = RUNS / name
    if is_complete(folder):
        print(f"{name}: already complete in {folder.relative_to(ROOT)}", file=sys.stderr)
        return
    shutil.rmtree(folder, ignore_errors=True)
    print(f"{name}: training", file=sys.stderr, flush=True)
    subprocess.run([*COMMANDS[name], str(folder.relative_to(ROOT))], cwd=ROOT, check=True, stdout=sys.stderr)


def is_complete(folder):
    return len(epochs_of(folder)) == EPOCHS


def epochs_of(folder):
    """Return the record of each finished epoch of a run."""
    path = folder / ("losses.jsonl" if folder.name.endswith("open") else "metrics.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run_facts(name):
    """Return the losses that the editions publish: mean of each epoch, or last batch for the custom loop."""
    epochs = epochs_of(RUNS / name)
    facts = {"command": " ".join(["python", *COMMANDS[name][1:], f"runs/reproduce/{name}"])}
    if name.endswith("open"):
        facts |= {
            "epochs": [e["losses"][-1] for e in epochs],
            "means": [statistics.fmean(e["losses"]) for e in epochs],
            "batch_0": [e["losses"][0] for e in epochs],
            "batch_100": [e["losses"][100] for e in epochs],
        }
    else:
        facts |= {"epochs": [e["train_loss"] for e in epochs]}
    return facts


def machine():
    return {
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "precision": choose_device("cpu").precision,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "charloom": charloom.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }


def corpus_facts():
    corpus = charloom.Corpus.read("shakespeare")
    ids = corpus.vocabulary.encode(corpus.text)
    batches = make_batches(ids, RECIPES["tutorial-gru"].settings)
    first = next(batches)
    return {
        "sha256": corpus.sha256,
        "characters": len(corpus.text),
        "distinct": len(corpus.vocabulary),
        "first_ids": {"text": corpus.text[:13], "ids": corpus.vocabulary.encode(corpus.text[:13]).tolist()},
        "first_window": corpus.text[:101],
        "windows": len(batches.windows),
        "batches": batches.batches_per_epoch,
        "inputs_shape": list(first.inputs.shape),
        "targets_shape": list(first.targets.shape),
    }


def untrained(cell):
    """Return parameter counts and the loss of an untrained model on one batch."""
    corpus = charloom.Corpus.read("shakespeare")
    settings = RECIPES[f"tutorial-{cell}"].settings
    architecture = settings.architecture(len(corpus.vocabulary))
    engine = NumpyEngine(architecture, fold(architecture, initial_weights(architecture, settings.seed), "float32"))
    batch = next(make_batches(corpus.vocabulary.encode(corpus.text), settings))
    logits, _ = engine.forward(batch.inputs, engine.initial_state(len(batch.inputs)))
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    loss = -np.take_along_axis(log_probs, batch.targets[..., None].astype(np.intp), -1).mean()
    layers = {name: math.prod(shape) for name, shape in architecture.parameter_shapes().items()}
    return {
        "parameters": architecture.num_parameters,
        "by_weight": layers,
        "logits_shape": list(logits.shape),
        "loss": float(loss),
    }


def samples(cell):
    """Return texts that the model trained with `charloom train` generates."""
    model = charloom.load(RUNS / f"{cell}-simple")
    return [
        {
            "prompt": p,
            "temperature": t,
            "seed": 1,
            "text": model.generate(p, SAMPLE_LENGTH, t, seed=1, precision="float32"),
        }
        for p in PROMPTS
        for t in TEMPERATURES
    ]


def greedy(cell):
    """Return where greedy decoding starts to loop, and whether sampling does."""
    model = charloom.load(RUNS / f"{cell}-simple")
    texts = {"greedy": model.generate("ROMEO: ", SAMPLE_LENGTH, temperature=0, precision="float32")}
    for t in TEMPERATURES:
        texts[f"drawn at {t}"] = model.generate("ROMEO: ", SAMPLE_LENGTH, t, seed=1, precision="float32")
    return {name: {"text": text[:500], "loop": find_loop(text)} for name, text in texts.items()}


def find_loop(text, rounds=3):
    """Return [start, length] of the loop at the end of a text, or None without ``rounds`` repetitions.

    >>> find_loop("to be or not or not or not or")
    [5, 7]
    """
    for length in range(1, len(text) // rounds + 1):
        same = len(text)
        while same > length and text[same - 1] == text[same - 1 - length]:
            same -= 1
        start = same - length
        if len(text) - start >= rounds * length:
            return [start, length]
    return None


if __name__ == "__main__":
    main()
