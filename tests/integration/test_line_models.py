"""Line models, which treat every line as a separate text: batches, loss, generation and scoring."""

import math
from pathlib import Path

import numpy as np
import pytest

import charloom
from charloom.data.corpus import Corpus
from charloom.data.splits import stratified_indices
from charloom.data.text_format import TextFormat, TextRules
from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import SettingsError
from charloom.inference.model import Model
from charloom.model.architecture import Architecture
from charloom.model.file.model_file import SavedModel
from charloom.model.initializers import initial_weights
from charloom.planning.recipes import RECIPES
from charloom.planning.settings import Settings
from charloom.training.backends.torch.evaluate import evaluate
from charloom.training.backends.torch.network import CharNetwork
from charloom.training.batches import make_batches
from charloom.training.batches.base import Position
from support.errors import raises_code

LINES = TextFormat(lines=True)
NAMES = [f"{a}{b}{c}" for a in ("an", "ber", "cor", "dor", "el") for b in ("", "a", "in", "ovar") for c in "aeiou"]


@pytest.fixture(scope="module")
def corpus():
    return Corpus("\n".join([*NAMES[:40], "", *NAMES[40:]]) + "\n", "names", text_format=LINES)


@pytest.fixture(scope="module")
def model():
    vocabulary = Vocabulary("\nabcdefgilnorvuxyz")
    architecture = Architecture(len(vocabulary), "lstm", 8, 12, 2)
    weights = initial_weights(architecture, 3)
    weights["output.weight"] *= 8  # so that its distribution is far from uniform
    return Model(SavedModel(architecture, vocabulary, weights, rules=TextRules(lines=True)))


def reference_nats(model, line):
    """Return the loss in nats of each character of a line and of its end, from the NumPy engine."""
    from charloom.inference.engines.folding import fold
    from charloom.inference.engines.numpy import NumpyEngine

    saved = model.saved
    engine = NumpyEngine(saved.architecture, fold(saved.architecture, saved.weights, "float32"))
    ids = saved.vocabulary.encode(f"\n{line}\n").astype(np.intp)
    logits, _ = engine.forward(ids[None, :-1], engine.initial_state(1))
    exact = logits[0].astype(np.float64)
    return np.log(np.exp(exact).sum(1)) - exact[np.arange(len(ids) - 1), ids[1:]]


def test_lines_are_split_into_parts(corpus):
    lines, empty = corpus.records
    assert len(lines.starts) == 100 and empty == 1
    parts = corpus.parts(0.1, 0.2)
    lines_of_parts = [set(part.text.split()) for part in (parts.training, parts.validation, parts.test)]
    assert [len(part) for part in lines_of_parts] == [70, 10, 20] and set.union(*lines_of_parts) == set(NAMES)
    assert corpus.split(0.1, 0.2).training == parts.training.text
    assert parts.training.head(7) == parts.training.text[:7] and len(parts.training) == len(parts.training.text)
    assert "".join(parts.training.pieces()) == parts.training.text


@pytest.mark.parametrize("text", ["a", "a\n", "\na", "\n\n", "a\nb", "a\n\nbc\n"])
def test_empty_lines_and_missing_line_feeds(text):
    corpus = Corpus(text, text_format=LINES)
    expected = [line for line in text.split("\n") if line]
    assert corpus.records[0].text == "".join(line + "\n" for line in expected)
    assert corpus.records[1] == len(text.removesuffix("\n").split("\n")) - len(expected)
    assert "\n" in corpus.vocabulary


def test_held_out_lines_are_spread_over_the_corpus():
    chosen = stratified_indices(1000, 0.1)
    assert len(chosen) == 100 and (np.diff(chosen) > 0).all()
    assert (np.bincount(chosen // 100, minlength=10) == 10).all()
    assert len(stratified_indices(5, 0.1)) == 0 and len(stratified_indices(7, 0.5)) == 3


@pytest.mark.parametrize("width", [3, 5, 50])
def test_an_epoch_contains_every_line_once(corpus, width):
    settings = Settings(batching="lines", batch_size=7, seq_length=width)
    training = corpus.parts(0.0).training.ids(corpus.vocabulary)
    batches = make_batches(training, settings)
    for epoch in range(2):
        seen, rows = [], [""] * 7
        for _ in range(batches.batches_per_epoch):
            batch = next(batches)
            assert batch.epoch == epoch and batch.inputs.shape == batch.targets.shape
            if batch.resets_state:
                seen += rows
                rows = [""] * 7
                assert (batch.inputs[:, 0] == training.mark).all()
            for row, targets in enumerate(batch.targets):
                rows[row] += corpus.vocabulary.decode(targets[targets >= 0])
            moved = batch.targets[:, :-1] >= 0
            assert (batch.inputs[:, 1:][moved] == batch.targets[:, :-1][moved]).all()
        assert batch.ends_epoch
        seen += rows
        assert sorted(filter(None, seen)) == sorted(name + "\n" for name in NAMES)
    assert not np.array_equal(next(make_batches(training, settings)).inputs, next(batches).inputs)


def test_batches_resume_from_a_position(corpus):
    settings = Settings(batching="lines", batch_size=7, seq_length=4)
    training = corpus.parts(0.0).training.ids(corpus.vocabulary)
    original, restored = make_batches(training, settings), make_batches(training, settings)
    for _ in range(9):
        next(original)
    restored.position = Position(original.position.epoch, original.position.index)
    assert np.array_equal(next(original).inputs, next(restored).inputs)


def test_the_loss_of_a_batch_of_lines_is_the_mean_over_separate_lines(model):
    corpus = Corpus("anna\nbo\ncorinox\n", text_format=LINES)
    network = CharNetwork(model.architecture, model.saved.weights)
    ids = corpus.records[0].ids(model.vocabulary)
    expected = np.concatenate([reference_nats(model, line) for line in ("anna", "bo", "corinox")]).mean()
    assert math.isclose(evaluate(network, ids), expected, rel_tol=1e-5)
    import torch

    inputs, targets = ids.windows(np.arange(3), 4)
    with torch.no_grad():
        loss, _ = network.loss(torch.from_numpy(inputs.astype(np.int64)), torch.from_numpy(targets))
    assert math.isclose(float(loss), expected, rel_tol=1e-5)


def test_padding_rows_have_no_gradient(model):
    import torch

    corpus = Corpus("anna\nbo\n", text_format=LINES)
    ids = corpus.records[0].ids(model.vocabulary)
    gradients = []
    for rows in (2, 5):  # the extra rows are padding
        network = CharNetwork(model.architecture, model.saved.weights)
        inputs, targets = ids.windows(np.arange(2), rows)
        loss, _ = network.loss(torch.from_numpy(inputs.astype(np.int64)), torch.from_numpy(targets))
        loss.backward()
        gradients.append(network.parameter("embedding.weight").grad)
    assert torch.allclose(*gradients, atol=1e-7)


def test_scores_of_lines_equal_the_reference(model):
    nats = reference_nats(model, "anna")
    result = model.score("anna")
    assert np.allclose(result.surprisals * math.log(2), nats, rtol=1e-4) and result.characters == 5
    both = np.concatenate([nats, reference_nats(model, "bo")])
    assert np.allclose(model.score("anna\nbo").surprisals * math.log(2), both, rtol=1e-4)
    assert np.allclose(model.score("anna\nbo\n").surprisals * math.log(2), both, rtol=1e-4)
    many = model.score_many(["bo", "anna", "corinox"])
    assert np.allclose(many[1].surprisals, result.surprisals, rtol=1e-5)
    blocks = [bits for _, bits in model.surprisal_blocks(["an", "na\nb", "o"])]
    assert np.allclose(np.concatenate(blocks) * math.log(2), both, rtol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_generation_restarts_from_the_zero_state_at_each_line(model, precision):
    """Compare generation with the wrapped engine, sampled by character and reset by hand after each line."""
    from charloom.inference.engines.base import Cursor
    from charloom.inference.engines.factory import make_engine
    from charloom.inference.generation_options import Sampling
    from charloom.inference.sampling import sample_seeds

    engine, newline = make_engine(model.saved, precision), model.vocabulary.encode("\n").astype(int)
    for seed in sample_seeds(5, 3):
        logits, state = engine.forward(newline[None], engine.initial_state(1))
        cursor = Cursor(state, logits[:, 0], np.array([seed], np.uint64))
        expected = ""
        for _ in range(300):
            drawn = engine.sample(cursor, 1, Sampling(1.0))
            expected += model.vocabulary.decode(drawn.ids[0])
            if expected.endswith("\n"):
                logits, state = engine.forward(newline[None], engine.initial_state(1))
                cursor = Cursor(state, logits[:, 0], cursor.seeds, cursor.positions)
        assert model.generate("", 300, 1.0, seed, precision=precision) == expected
        assert expected.count("\n") > 3


def test_a_sample_of_lines_equals_a_single_generation(model):
    from charloom.inference.generation import make_request
    from charloom.inference.sampling import sample_seeds

    request, precision = make_request("an", 200, 1.0, 5, {"repetition_penalty": 1.3}, samples=4, log_probs=True)
    texts, logs = [""] * 4, [[] for _ in range(4)]
    for piece in model.pieces(request, precision):
        texts[piece.sample] += piece.text
        logs[piece.sample] += piece.log_probs
    for seed, text, log in zip(sample_seeds(5, 4), texts, logs, strict=True):
        assert text == model.generate("an", 200, 1.0, seed, repetition_penalty=1.3) and len(log) == 200


def test_activations_restart_at_each_line(model):
    first, second = model.activations("anna\nbo"), model.activations("xyz\nbo")
    assert np.array_equal(first.hidden[-2:], second.hidden[-2:])
    assert not np.array_equal(first.hidden[0], second.hidden[0])


def test_training_on_names_from_the_command_line(quick_cli, corpus):
    Path("names.txt").write_text(corpus.text)
    sizes = ("--set", "hidden_size=24", "--set", "num_layers=1", "--set", "batch_size=16")
    done = quick_cli("train", "names.txt", "--lines", "--steps", 150, "-o", "run", *sizes)
    assert done.code == 0, done.err
    assert "100 lines" in done.err and "generated lines" in done.err
    model = charloom.load("run")
    assert model.saved.rules.lines and model.facts["val_loss"] < math.log(len(model.vocabulary)) - 0.5
    held_out = corpus.parts(0.1).validation.text
    assert math.isclose(model.score(held_out).nats_per_char, model.facts["val_loss"], rel_tol=1e-4)
    generated = quick_cli("generate", "run", "--max-lines", 6, "--seed", 2, "-q").out
    assert generated.count("\n") >= 6 and all(2 < len(line) < 30 for line in generated.split())
    assert quick_cli("generate", "run", "-p", "an", "--max-lines", 1, "-q").out.startswith("an")
    scores = quick_cli("score", "run", "names.txt", "--per-line", "--json").json["lines"]
    noise = model.score_many(["xqzj" if set("xqzj") <= set(model.vocabulary.characters) else "uuuuaaaa"])[0]
    assert sum(row["bits_per_char"] or 9 for row in scores) / len(scores) < noise.bits_per_char
    new = quick_cli("generate", "run", "--max-lines", 6, "--seed", 2, "--novelty", "--json").json["samples"][0]
    lines = new["text"].split()
    known = set(corpus.parts(0.1).training.text.split())
    assert new["novelty"]["lines"] == len(lines) == 6
    assert new["novelty"]["copied_lines"] == sum(line in known for line in lines)
    assert quick_cli("report", "run", "-q").code == 0
    assert quick_cli("info", "run", "--json").json["lines"] is True


def test_a_run_on_lines_resumes_exactly(tmp_path, corpus):
    path = tmp_path / "names.txt"
    path.write_text(corpus.text)
    sizes = {"hidden_size": 16, "embedding_size": 8, "num_layers": 1, "seq_length": 4, "batch_size": 8}
    sizes |= {"dropout_output": 0.1, "weight_decay": 0.1, "warmup_steps": 0, "eval_every": 5}
    read = Corpus.read(path, text_format=LINES)
    whole = charloom.train(read, run=tmp_path / "whole", steps=40, schedule="constant", progress=False, **sizes)
    charloom.train(read, run=tmp_path / "cut", steps=23, schedule="constant", progress=False, **sizes)
    resumed = charloom.resume(tmp_path / "cut", steps=17, progress=False)
    last = charloom.load(f"{tmp_path}/cut@last"), charloom.load(f"{tmp_path}/whole@last")
    assert resumed.saved.rules.lines and whole.saved.rules.lines
    assert all(np.array_equal(last[0].saved.weights[k], v) for k, v in last[1].saved.weights.items())


def test_batching_that_does_not_fit_the_text_raises(tmp_path, corpus):
    from charloom.training.pipeline import TrainingRequest, prepare

    with raises_code("lines_option_missing", SettingsError):
        prepare(TrainingRequest(Corpus("abc" * 500), RECIPES["auto"].with_values({"batching": "lines"})))
    with raises_code("batching_conflicts_with_lines", SettingsError, batching="streams"):
        prepare(TrainingRequest(corpus, RECIPES["auto"].with_values({"batching": "streams", "steps": 3})))
    setup = prepare(TrainingRequest(corpus, RECIPES["tutorial-gru"].with_values({"steps": 3})))
    assert setup.settings.batching == "lines" and setup.settings.batch_size == 64
    (notice,) = [notice for notice in setup.request.notices if notice.code == "lines_are_texts"]
    assert notice.data == {"kind": "lines", "lines": 100, "empty": 1}
