"""Models of records: texts of several lines, each read and generated as a separate text, with or without labels."""

import math
from pathlib import Path

import numpy as np
import pytest

import charloom
from charloom.data.corpus import Corpus
from charloom.data.text_format import LABEL_MARK, RECORD_MARK, TextFormat, TextRules
from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import SettingsError
from charloom.inference.model import Model
from charloom.inference.sampling import sample_seeds
from charloom.model.architecture import Architecture
from charloom.model.file.model_file import SavedModel, load_model, save_model
from support.errors import raises_code
from support.models import initial_weights

RECORDS = TextFormat(records="%")
LABELS = {"sea": 30, "land": 10}
TEXTS = [f"{first} {second}\n{second} {first}" for first in ("ab", "cde", "ba") for second in ("ee", "dab", "c")] * 12


def make_model(labels=None, spread=6.0):
    vocabulary = Vocabulary("".join(sorted(f"\n abcdelnsxyz{RECORD_MARK}{LABEL_MARK if labels else ''}")))
    architecture = Architecture(len(vocabulary), "gru", 6, 20, 2, True)
    weights = initial_weights(architecture, 3)
    weights["output.weight"] *= spread  # so that its distribution is far from uniform
    return Model(SavedModel(architecture, vocabulary, weights, rules=TextRules(records="%", labels=labels or {})))


@pytest.fixture
def model():
    return make_model()


@pytest.fixture
def labeled():
    return make_model(LABELS)


def plain(model):
    """Return the model without rules, which treats the marks as ordinary characters and carries the state."""
    saved = model.saved
    return Model(SavedModel(saved.architecture, saved.vocabulary, saved.weights))


def test_the_score_of_records_is_the_sum_of_separate_scores(model):
    records = ["ab\ncd", "e", "x\n\ny"]
    whole = model.score(RECORD_MARK.join(records))
    parts = [plain(model).score(f"{RECORD_MARK}{record}{RECORD_MARK}") for record in records]
    np.testing.assert_allclose(whole.surprisals, np.concatenate([part.surprisals for part in parts]), rtol=1e-5)


def test_a_sample_is_one_record_and_ends_at_its_end(model):
    pieces = list(model.pieces(charloom.inference.generation.Request(prompt="ab", length=400, seed=3, samples=20)))
    texts, reasons = [""] * 20, [None] * 20
    for piece in pieces:
        texts[piece.sample] += piece.text
        reasons[piece.sample] = piece.finish_reason
    assert "stop" in reasons and set(reasons) <= {"stop", "length"}
    assert all(text.startswith("ab") and RECORD_MARK not in text for text in texts)
    for seed, text in zip(sample_seeds(3, 20), texts, strict=True):
        assert model.generate("ab", 400, seed=seed) == text  # a batch row equals a single row
        raw = plain(model).generate(f"{RECORD_MARK}ab", 400, seed=seed)
        assert raw.removeprefix(RECORD_MARK).partition(RECORD_MARK)[0] == text


def test_an_empty_prompt_begins_a_record(model):
    raw = plain(model).generate(RECORD_MARK, 300, seed=5)
    assert model.generate(length=300, seed=5) == raw[1:].partition(RECORD_MARK)[0]


def test_generated_records_continue_across_their_ends(model):
    text = model.generate_records(600, temperature=1.0, seed=1)
    assert len(text) == 600 and text.count(RECORD_MARK) > 2


def test_allowed_characters_include_the_end_of_the_record(model):
    text = model.generate(length=2000, seed=1, allow="ab")
    assert set(text) <= set("ab") and len(text) < 2000


def test_a_session_extends_one_record(model):
    from charloom.inference.generation import Request
    from charloom.inference.session import Session

    session = Session(model.engine("int8"), model.vocabulary, Request(prompt="ab", length=50, seed=4), model.rules)
    list(session.continue_text())
    assert session.text == model.generate("ab", 50, seed=4) and RECORD_MARK not in session.text


def test_newlines_of_prompts_and_scored_texts_become_line_feeds(model):
    assert model.generate("a\r\nb", 30, seed=1) == model.generate("a\nb", 30, seed=1)
    assert np.array_equal(model.score("a\rb").surprisals, model.score("a\nb").surprisals)


# --- labels


def test_a_label_is_the_hidden_beginning_of_a_record(labeled):
    for label in LABELS:
        raw = plain(labeled).generate(f"{RECORD_MARK}{label}{LABEL_MARK}", 200, seed=2, forbid=LABEL_MARK)
        assert (
            labeled.generate(length=200, seed=2, label=label) == raw.partition(LABEL_MARK)[2].partition(RECORD_MARK)[0]
        )
    texts = [[labeled.generate(length=200, seed=seed, label=label) for seed in range(20)] for label in LABELS]
    assert texts[0] != texts[1]


def test_texts_are_scored_under_a_label(labeled):
    joint = plain(labeled).score(f"{RECORD_MARK}sea{LABEL_MARK}ab{RECORD_MARK}").total_nats
    assert labeled.score("ab", label="sea").total_nats == pytest.approx(joint, rel=1e-5)
    with raises_code("missing_label", SettingsError, accepted=["sea", "land"]):
        labeled.score("ab")
    with raises_code("unknown_label", SettingsError):
        labeled.score("ab", label="see")


def test_labels_are_drawn_by_their_frequency(labeled):
    by_label = {label: {labeled.generate("ab", 40, seed=s, label=label) for s in range(60)} for label in LABELS}
    drawn = [labeled.generate("ab", 40, seed=seed) for seed in range(60)]
    assert all(text in by_label["sea"] | by_label["land"] for text in drawn)
    from charloom.inference.generation import choose_label

    labels = [choose_label(labeled.rules, None, seed) for seed in range(2000)]
    assert abs(labels.count("sea") / 2000 - 0.75) < 0.03


def test_samples_with_drawn_labels_equal_single_generations(labeled):
    texts = [""] * 8
    for piece in labeled.pieces(charloom.inference.generation.Request(length=60, seed=9, samples=8)):
        texts[piece.sample] += piece.text
    assert texts == [labeled.generate(length=60, seed=seed) for seed in sample_seeds(9, 8)]


@pytest.mark.parametrize("label", ["lnd", "Sea", ""])
def test_unknown_labels_are_rejected_with_similar_ones(label, labeled):
    with raises_code("unknown_label", SettingsError, label=label, accepted=["sea", "land"]) as caught:
        labeled.generate(label=label)
    assert caught.value.data["suggestions"] == {"lnd": ["land"], "Sea": ["sea"], "": []}[label]


def test_a_label_for_a_model_without_labels_is_rejected(model):
    with raises_code("no_labels", SettingsError, label="sea"):
        model.generate(label="sea")


# --- model files


@pytest.mark.parametrize(
    "rules",
    [
        TextRules(records="%"),
        TextRules(records=""),
        TextRules(records="blank", labels={"a b": 3}),
        TextRules(newlines="lf", normalize="nfc"),
        TextRules(lines=True),
    ],
)
def test_rules_survive_a_model_file(rules, tmp_path, labeled):
    saved = labeled.saved
    save_model(tmp_path / "m", SavedModel(saved.architecture, saved.vocabulary, saved.weights, rules=rules))
    assert load_model(tmp_path / "m").rules == rules


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        (TextRules(newlines="cr"), "damaged_model_file"),
        (TextRules(normalize="nfkd"), "damaged_model_file"),
        (TextRules(records="%\n"), "damaged_model_file"),
        (TextRules(records="%", lines=True), "damaged_model_file"),
        (TextRules(labels={"a": 1}), "damaged_model_file"),
        (TextRules(records="%", labels={"a": 0}), "damaged_model_file"),
        (TextRules(records="%", labels={"": 1}), "damaged_model_file"),
    ],
)
def test_invalid_rules_are_rejected(rules, code, tmp_path, labeled):
    saved = labeled.saved
    with pytest.raises(charloom.errors.CharloomError):
        save_model(tmp_path / "m", SavedModel(saved.architecture, saved.vocabulary, saved.weights, rules=rules))
    assert not (tmp_path / "m").exists()


def test_a_model_of_records_without_the_mark_is_rejected(tmp_path):
    vocabulary = Vocabulary("\nab")
    architecture = Architecture(3, "gru", 4, 4, 1, True)
    saved = SavedModel(architecture, vocabulary, initial_weights(architecture, 1), rules=TextRules(records="blank"))
    with raises_code("no_record_mark_in_vocabulary"):
        save_model(tmp_path / "m", saved)


# --- training


def test_training_on_records_from_the_command_line(quick_cli):
    Path("poems.txt").write_text("\n%\n".join(TEXTS) + "\n%\n")
    sizes = ("--set", "hidden_size=48", "--set", "num_layers=1", "--set", "batch_size=8")
    done = quick_cli("train", "poems.txt", "--records", "%", "--steps", 800, "-o", "run", *sizes)
    assert done.code == 0, done.err
    assert RECORD_MARK not in done.err
    model = charloom.load("run")
    corpus = Corpus.read("poems.txt", text_format=RECORDS)
    assert model.rules == TextRules(records="%") and len(corpus.records[0].starts) == len(TEXTS)
    held_out = corpus.parts(0.1).validation.text
    assert math.isclose(model.score(held_out).nats_per_char, model.facts["val_loss"], rel_tol=1e-4)
    assert model.facts["val_loss"] < 0.8
    texts = [model.generate(length=200, seed=seed) for seed in range(20)]
    assert sum(text in TEXTS for text in texts) > 10, texts  # they end where records end
    facts = quick_cli("corpus", "poems.txt", "--records", "%", "--json").json
    assert facts["records"] == len(TEXTS) and facts["lines"] is None and RECORD_MARK not in facts["preview"]
    assert facts["record_lengths"] == {"shortest": 9, "median": 11, "longest": 15}


def test_records_longer_than_a_window_carry_the_state_within_a_batch(tmp_path):
    path = tmp_path / "long.txt"
    path.write_text("\n%\n".join(f"{text}\n" * 8 for text in TEXTS))
    sizes = {"hidden_size": 16, "embedding_size": 8, "num_layers": 1, "seq_length": 10, "batch_size": 8}
    sizes |= {"dropout_output": 0.1, "weight_decay": 0.1, "warmup_steps": 0, "eval_every": 5}
    read = Corpus.read(path, text_format=RECORDS)
    whole = charloom.train(read, run=tmp_path / "whole", steps=60, schedule="constant", progress=False, **sizes)
    charloom.train(read, run=tmp_path / "cut", steps=23, schedule="constant", progress=False, **sizes)
    charloom.resume(tmp_path / "cut", steps=37, progress=False)
    last = charloom.load(f"{tmp_path}/cut@last"), charloom.load(f"{tmp_path}/whole@last")
    assert whole.rules == TextRules(records="%")
    assert all(np.array_equal(last[0].saved.weights[k], v) for k, v in last[1].saved.weights.items())


# --- reports and the training text of a run


def test_reports_show_records_without_marks(quick_cli):
    Path("poems.txt").write_text("\n%\n".join(TEXTS) + "\n%\n")
    Path("one.txt").write_text("ab ee\nee ab\n")
    sizes = ("--set", "hidden_size=24", "--set", "num_layers=1", "--set", "batch_size=8")
    assert quick_cli("train", "poems.txt", "--records", "%", "--steps", 40, "-o", "run", *sizes).code == 0
    for arguments in ([], ["poems.txt"], ["one.txt"]):
        done = quick_cli("report", "run", *arguments, "--json")
        assert done.code == 0, done.err
        page = Path("report.html").read_text(encoding="utf-8")
        assert "\u241e" in page and "marks the end of a record" in page
        assert RECORD_MARK not in page and "\\u001e" not in page
    assert (
        quick_cli("generate", "run", "--novelty", "-n", 60, "--seed", 1, "--json").json["samples"][0]["novelty"][
            "records"
        ]
        == 1
    )


def test_a_run_finds_its_table_with_labels_and_encodings_again(quick_cli):
    rows = "".join(f'"{text}",{"sea" if i % 3 else "land"}\n' for i, text in enumerate(TEXTS))
    Path("t.csv").write_bytes(f"text,kind\n{rows}".replace("cde", "cdé").encode("cp1252"))
    options = ("--column", "text", "--label", "kind", "--encoding", "*.csv=cp1252")
    sizes = ("--set", "hidden_size=16", "--set", "num_layers=1", "--set", "batch_size=8", "--set", "eval_every=10")
    assert quick_cli("train", "t.csv", *options, "--steps", 20, "-o", "run", *sizes).code == 0
    model = charloom.load("run")
    assert set(model.rules.labels) == {"sea", "land"} and "é" in model.vocabulary
    resumed = quick_cli("train", "--resume", "run", "--steps", 10)
    assert resumed.code == 0, resumed.err
    assert charloom.load("run@last").facts["step"] == 30
    assert quick_cli("report", "run").code == 0


def test_every_character_has_the_same_weight_in_training():
    from charloom.planning.settings import Settings
    from charloom.training.batches import make_batches

    text = "".join(f"{'ab' * n}{RECORD_MARK}" for n in (1, 2, 3, 9, 10, 30, 31, 40))
    ids = Corpus(text, text_format=RECORDS).records[0].ids(Vocabulary("".join(sorted(set(text)))))
    batches = make_batches(ids, Settings(batching="lines", seq_length=16, batch_size=4))
    drawn = [next(batches) for _ in range(batches.batches_per_epoch)]
    counts = [int((batch.targets >= 0).sum()) for batch in drawn]
    assert sum(counts) == len(text) and len(set(counts)) > 3
    np.testing.assert_allclose(
        [batch.weight / count for batch, count in zip(drawn, counts, strict=True)], len(drawn) / len(text)
    )
