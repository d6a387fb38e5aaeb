import base64
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import charloom
from charloom.inference.memorization import SAMPLE_LENGTH, SAMPLE_TEMPERATURES
from charloom.inference.model import Model
from charloom.model.file.model_file import save_model
from charloom.report.analysis import analyze_text
from charloom.report.build import build_report, default_text
from charloom.report.confusion import embedding_map, frequent_confusions
from charloom.report.context_length import loss_by_context_length
from charloom.report.provenance import Provenance, find_provenance
from charloom.web.report_page import report_page
from support.errors import cli_error
from support.models import quiet, tiny_saved


@pytest.fixture(scope="module")
def report(run, text):
    """Data and analysis of the report of the small run, on the last characters of its training text."""
    return build_report(find_provenance(str(run)), text[-1500:], "A text.", quiet)


def numbers(data, key, kind):
    return np.frombuffer(base64.b64decode(data["text"][key]), kind)


def test_surprisals_and_predictions_of_the_page_equal_the_models(report, run, text):
    data, _ = report
    model = charloom.load(run)
    assert numbers(data, "surprisals", "<u2") / 100 == pytest.approx(model.score(text[-1500:]).surprisals, abs=0.011)
    predictions = model.top_guesses(text[-1500:])
    ids = numbers(data, "guesses", "<u2").reshape(-1, 5)
    assert tuple(model.vocabulary.decode(row) for row in ids) == predictions.characters
    probabilities = numbers(data, "probabilities", "<u2").reshape(-1, 5) / 65_535
    assert probabilities == pytest.approx(predictions.probabilities, abs=1e-5)


def test_neurons_of_the_page_equal_the_models_activations(report, run, text):
    data, _ = report
    result, section = charloom.load(run).activations(text[-1500:]), data["neurons"]
    assert section["count"] == len(section["list"]) == 48 and section["list"][5] == [0, "hidden", 5]
    packed = np.frombuffer(base64.b64decode(section["states"]), np.uint8).reshape(48, section["bytes_each"])
    levels = np.stack([packed & 15, packed >> 4], axis=2).reshape(48, -1)[:, :1500].astype(int) - 8
    for neuron in range(48):
        values = result.hidden[:, 0, neuron]
        assert levels[neuron] / 7 == pytest.approx(values / np.abs(values).max(), abs=0.08)


def test_cell_states_of_an_lstm_are_squashed_by_tanh():
    model = Model(tiny_saved("lstm"))
    analysis = analyze_text(model.engine(), model.vocabulary, "abc de\n" * 9)
    cell = [i for i, neuron in enumerate(analysis.neurons) if neuron.part == "cell" and neuron.layer == 1]
    result = model.activations("abc de\n" * 9)
    assert len(analysis.neurons) == 2 * 2 * 5
    assert analysis.states[:, cell] == pytest.approx(np.tanh(result.cell[:, 1]), abs=1e-3)
    assert {(entry.layer, entry.gate) for entry in analysis.saturation} == {
        (layer, gate) for layer in (0, 1) for gate in ("input", "forget", "output")
    }


def test_gate_saturation_equals_a_direct_count(report, run, text):
    data, analysis = report
    gates = charloom.load(run).activations(text[-1500:]).gates
    for entry in analysis.saturation:
        values = gates[:, entry.layer, ["reset", "update"].index(entry.gate)]
        assert entry.shut == pytest.approx((values < 0.1).mean(axis=0))
        assert entry.open == pytest.approx((values > 0.9).mean(axis=0))
    assert [entry["gate"] for entry in data["gates"]] == ["reset", "update"]


def test_confusions_are_wrong_top_predictions(run, text):
    model = charloom.load(run)
    counts = Counter()
    predictions = model.top_guesses(text, 1).characters
    for i in range(len(text) - 1):
        if predictions[i] != text[i + 1]:
            counts[text[i + 1], predictions[i]] += 1
    analysis = analyze_text(model.engine(), model.vocabulary, text)
    assert analysis.confusions == counts
    first = frequent_confusions(text, counts)[0]
    assert first.count == counts.most_common(1)[0][1] and first.share == first.count / text[1:].count(first.actual)


def test_context_points_are_losses_from_the_zero_state(text):
    model = Model(tiny_saved())
    long_text = "abc de\nab" * 100
    points = loss_by_context_length(model.engine(), model.vocabulary, long_text)
    assert points[0].characters == 1 and points[-1].characters == 256
    starts = np.linspace(0, len(long_text) - 257, 96).astype(int)
    bits = np.stack([model.score(long_text[s : s + 257]).surprisals for s in starts]).mean(axis=0)
    assert points[0].bits_per_char == pytest.approx(bits[0], rel=1e-6)
    assert points[-1].bits_per_char == pytest.approx(bits[points[-2].characters :].mean(), rel=1e-6)
    assert [p.characters for p in loss_by_context_length(model.engine(), model.vocabulary, "ab")] == [1]


def test_the_embedding_map_contains_all_characters_in_range():
    saved = tiny_saved()
    points = embedding_map(saved, "abcde\n " * 3)
    assert {point.character for point in points} == set("abcde\n ")
    assert all(-1 <= point.x <= 1 and -1 <= point.y <= 1 and point.count == 3 for point in points)
    assert embedding_map(saved, "ab") == []


def test_the_verdict_of_the_page_is_that_of_the_training(quick_cli, text):
    Path("book.txt").write_text(text)
    sizes = ("--set", "hidden_size=16", "--set", "num_layers=1")
    trained = quick_cli("train", "book.txt", "-o", "run", "--steps", 40, *sizes)
    told = json.loads(quick_cli("report", "run", "--json").out)["verdict"]
    assert told["code"] == "too_few_steps" and told["steps"] == 40
    assert told["message"] in trained.err
    assert build_report(find_provenance("run/model.safetensors"), text[:500], "", quiet)[0]["verdict"] == told
    shutil.copy("run/model.safetensors", "alone.safetensors")
    assert build_report(find_provenance("alone.safetensors"), text[:500], "", quiet)[0]["verdict"] is None
    shutil.rmtree("run/checkpoints")
    assert build_report(find_provenance("run"), text[:500], "", quiet)[0]["verdict"] is None


def test_weak_neurons_follow_nothing(report):
    section = report[0]["neurons"]
    assert all(abs(neuron["correlation"]) >= 0.3 for neuron in section["named"])
    followed = {neuron["feature"] for neuron in section["named"]}
    assert not followed & set(section["not_followed"])
    # an untrained model follows hardly anything, and the features that no neuron follows are named
    model = Provenance("tiny", tiny_saved(), None, None)
    section = build_report(model, "ab cd\nea dc\n\nbc a\n" * 40, "", quiet)[0]["neurons"]
    assert section["not_followed"] and all(abs(neuron["correlation"]) >= 0.3 for neuron in section["named"])


def test_samples_of_the_page_are_reproducible(report, run, text):
    data, _ = report
    training = charloom.Corpus(text).split(0.1).training
    for sample, temperature in zip(data["written"], SAMPLE_TEMPERATURES, strict=True):
        assert sample["text"] == charloom.load(run).generate(length=SAMPLE_LENGTH, temperature=temperature, seed=0)
    # the run was trained on a Corpus object without a file, so the training text is not available
    assert data["copies"]["missing"] and data["written"][0]["novelty"] is None
    assert training


def test_the_report_finds_the_training_text_of_a_run(quick_cli, text):
    Path("book.txt").write_text(text)
    sizes = ("--set", "hidden_size=16", "--set", "num_layers=1")
    assert quick_cli("train", "book.txt", "-o", "run", "--steps", 40, "-q", *sizes).code == 0
    split = charloom.Corpus(text).split(0.1)
    result = find_provenance("run")
    assert result.parts.training.text == split.training and result.parts.validation.text == split.validation
    assert result.missing == ""
    done = quick_cli("report", "run", "--json", "--figures", "pictures")
    assert done.code == 0, done.err
    assert done.json["characters"] == len(split.validation) - 1
    assert [sample["temperature"] for sample in done.json["copies"]] == list(SAMPLE_TEMPERATURES)
    names = {path.name for path in Path("pictures").iterdir()}
    assert {"losses.png", "losses.svg", "surprisal.png", "gates.svg", "context.png", "grad_norm.png"} <= names
    Path("book.txt").write_text(text + "more")
    assert find_provenance("run").missing.code == "training_text_changed"
    Path("book.txt").unlink()
    assert find_provenance("run").missing.code == "training_text_unavailable"
    assert quick_cli("generate", "run", "--novelty").code == 2


def test_generated_text_is_checked_for_memorization(cli, text):
    Path("book.txt").write_text(text)
    sizes = ("--set", "hidden_size=16", "--set", "num_layers=1")
    done = cli("train", "book.txt", "-o", "run", "--steps", 40, *sizes)
    assert re.search(r"\d+\.\d ?% .*passages of more than 30 characters \(longest: \d+\).*\d+\.\d ?% ", done.err, re.S)
    done = cli("generate", "run", "--novelty", "-n", 300, "--seed", 1, "-p", "The loom")
    quiet = cli("generate", "run", "--novelty", "-n", 300, "--seed", 1, "-p", "The loom", "-q")
    assert quiet.err and done.err.endswith(quiet.err)  # the result was asked for
    assert re.search(r"\d+\.\d ?% .*passages of more than 30 characters \(longest: \d+\)", done.err)
    result = cli("generate", "run", "--novelty", "-n", 300, "--seed", 1, "--samples", 2, "--json").json
    many, summary = result["samples"], result["novelty"]
    assert summary["longer_than"] == 30 and summary["held_out"]["segments"] > 0
    assert summary["longest"] == max(sample["novelty"]["longest"] for sample in many)
    args = ("generate", "run", "--novelty", "-n", 300, "--seed", 1, "--json", "--copies-longer-than")
    every = cli(*args, 1).json["novelty"]
    assert every["longer_than"] == 1 and every["copied"] > 0.5 and len(every["passages"]) == 3
    cli_error(cli("generate", "run", "--copies-longer-than", 5, "--json"), "missing_option", option="--novelty")
    assert cli(*args, 0).code == 2
    from charloom.inference.memorization import measure_memorization

    training = charloom.Corpus(text).split(0.1).training
    for sample in many:
        assert sample["novelty"]["longest"] == measure_memorization(sample["text"], training).longest


def test_a_report_of_a_model_without_a_run_and_of_a_given_text(cli, run, text):
    save_model(Path("model.safetensors"), charloom.load(run).saved)
    done = cli("report", "model.safetensors")
    assert done.code == 0 and "generated text" in done.err
    assert default_text(find_provenance("model.safetensors"))[2].code == "generated_text_analyzed"
    assert "Text generated by the model, 5,000 characters." in Path("report.html").read_text()
    Path("t.txt").write_text(text[:900])
    done = cli("report", "model.safetensors", "t.txt", "--json")  # overwrites an older report
    assert done.code == 0 and done.json["characters"] == 899


def test_invalid_report_arguments_are_rejected(cli, run):
    Path("report.html").write_text("<p>mine</p>")
    cli_error(cli("report", run, "--json"), "file_exists", path="report.html")
    assert Path("report.html").read_text() == "<p>mine</p>"
    cli_error(cli("report", run, "-o", "there/report.html", "--json"), "folder_not_found", path="there")
    cli_error(cli("report", run, "nothing.txt", "-o", "r.html", "--json"), "file_not_found")
    assert not Path("r.html").exists()
    Path("short.txt").write_text("T")
    cli_error(cli("report", run, "short.txt", "-o", "r.html", "--json"), "text_too_short", characters=1, minimum=2)
    unknown = cli("report", run, "-o", "r.html", "-", "--json", stdin="Ωμέγα".encode())
    cli_error(unknown, "unknown_character", count=5)


def test_unknown_characters_are_skipped_or_replaced(cli, run):
    text = "The loom ☃ is warm."
    arguments = ["report", run, "-", "-o", "r.html", "--json"]
    for unknown, read in (("skip", "The loom  is warm."), ("replace", "The loom   is warm.")):
        result = cli(*arguments, "--unknown", unknown, stdin=text.encode())
        assert result.code == 0 and "SNOWMAN" in result.err
        assert result.json["characters"] == len(read) - 1
        assert result.json["bits_per_char"] == pytest.approx(charloom.load(run).score(read).bits_per_char, abs=1e-6)
    only_unknown = cli(*arguments, "--unknown", "skip", stdin="☃☃☃".encode())
    cli_error(only_unknown, "text_too_short", characters=0, minimum=2)


def test_the_page_is_self_contained_and_escapes_its_data():
    hostile = '</script><script>alert(1)</script><img src=x onerror="alert(2)">\ud800 &amp; {data}'
    result = report_page({"name": hostile, "text": {"text": hostile}})
    assert result.count("<script") == 2 and "<img" not in result
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', result, re.S)[1]
    assert json.loads(data)["name"] == hostile
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", result) and "@import" not in result
    assert "default-src 'none'" in result and "unsafe" not in result
    assert len(report_page({"name": ""})) < 100_000
