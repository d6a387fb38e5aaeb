import base64
import json
import re
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
from charloom.report.provenance import find_provenance
from charloom.web.report_page import report_page
from support.models import quiet, tiny_saved


@pytest.fixture(scope="module")
def made(run, text):
    """The report of the small run on the last characters of its text."""
    return build_report(find_provenance(str(run)), text[-1500:], "A text.", quiet)


def numbers(data, key, kind):
    return np.frombuffer(base64.b64decode(data["text"][key]), kind)


def test_surprisals_and_guesses_on_the_page_are_the_models(made, run, text):
    data, _ = made
    model = charloom.load(run)
    assert numbers(data, "surprisals", "<u2") / 100 == pytest.approx(model.score(text[-1500:]).surprisals, abs=0.011)
    guesses = model.top_guesses(text[-1500:])
    ids = numbers(data, "guesses", "<u2").reshape(-1, 5)
    assert tuple(model.vocabulary.decode(row) for row in ids) == guesses.characters
    shares = numbers(data, "probabilities", "<u2").reshape(-1, 5) / 65_535
    assert shares == pytest.approx(guesses.probabilities, abs=1e-5)


def test_neurons_on_the_page_are_the_models(made, run, text):
    data, _ = made
    found, part = charloom.load(run).activations(text[-1500:]), data["neurons"]
    assert part["count"] == len(part["list"]) == 48 and part["list"][5] == [0, "hidden", 5]
    packed = np.frombuffer(base64.b64decode(part["states"]), np.uint8).reshape(48, part["bytes_each"])
    levels = np.stack([packed & 15, packed >> 4], axis=2).reshape(48, -1)[:, :1500].astype(int) - 8
    for neuron in range(48):
        values = found.hidden[:, 0, neuron]
        assert levels[neuron] / 7 == pytest.approx(values / np.abs(values).max(), abs=0.08)


def test_an_lstm_shows_its_cells_squeezed():
    model = Model(tiny_saved("lstm"))
    reading = analyze_text(model.engine(), model.vocabulary, "abc de\n" * 9)
    cell = [i for i, one in enumerate(reading.neurons) if one.part == "cell" and one.layer == 1]
    found = model.activations("abc de\n" * 9)
    assert len(reading.neurons) == 2 * 2 * 5
    assert reading.states[:, cell] == pytest.approx(np.tanh(found.cell[:, 1]), abs=1e-3)
    assert {(one.layer, one.gate) for one in reading.saturation} == {
        (layer, gate) for layer in (0, 1) for gate in ("input", "forget", "output")
    }


def test_gates_are_counted_as_they_are(made, run, text):
    data, reading = made
    gates = charloom.load(run).activations(text[-1500:]).gates
    for one in reading.saturation:
        which = gates[:, one.layer, ["reset", "update"].index(one.gate)]
        assert one.shut == pytest.approx((which < 0.1).mean(axis=0)) and one.open == pytest.approx(
            (which > 0.9).mean(axis=0)
        )
    assert [one["gate"] for one in data["gates"]] == ["reset", "update"]


def test_mistakes_are_what_was_guessed_where_another_came(run, text):
    model = charloom.load(run)
    counted = Counter()
    guesses = model.top_guesses(text, 1).characters
    for i in range(len(text) - 1):
        if guesses[i] != text[i + 1]:
            counted[text[i + 1], guesses[i]] += 1
    reading = analyze_text(model.engine(), model.vocabulary, text)
    assert reading.confusions == counted
    first = frequent_confusions(text, counted)[0]
    assert first.count == counted.most_common(1)[0][1] and first.share == first.count / text[1:].count(first.actual)


def test_context_points_are_losses_from_the_zero_state(text):
    model = Model(tiny_saved())
    reads = "abc de\nab" * 100
    points = loss_by_context_length(model.engine(), model.vocabulary, reads)
    assert points[0].characters == 1 and points[-1].characters == 256
    starts = np.linspace(0, len(reads) - 257, 96).astype(int)
    bits = np.stack([model.score(reads[s : s + 257]).surprisals for s in starts]).mean(axis=0)
    assert points[0].bits_per_char == pytest.approx(bits[0], rel=1e-6)
    assert points[-1].bits_per_char == pytest.approx(bits[points[-2].characters :].mean(), rel=1e-6)
    assert [p.characters for p in loss_by_context_length(model.engine(), model.vocabulary, "ab")] == [1]


def test_the_map_keeps_the_largest_distances():
    saved = tiny_saved()
    places = embedding_map(saved, "abcde\n " * 3)
    assert {place.character for place in places} == set("abcde\n ")
    assert all(-1 <= place.x <= 1 and -1 <= place.y <= 1 and place.count == 3 for place in places)
    assert embedding_map(saved, "ab") == []


def test_what_is_written_is_compared_with_the_training_text(made, run, text):
    data, _ = made
    training = charloom.Corpus(text).split(0.1).training
    for one, temperature in zip(data["written"], SAMPLE_TEMPERATURES, strict=True):
        assert one["text"] == charloom.load(run).generate(length=SAMPLE_LENGTH, temperature=temperature, seed=0)
    # the run was trained on a Corpus that was never read from a file, so that its text is not at hand
    assert data["copies"]["missing"] and data["written"][0]["novelty"] is None
    assert training


def test_a_run_finds_its_text_again(quick_cli, text):
    Path("book.txt").write_text(text)
    sizes = ("--set", "hidden_size=16", "--set", "num_layers=1")
    assert quick_cli("train", "book.txt", "-o", "run", "--steps", 40, "-q", *sizes).code == 0
    split = charloom.Corpus(text).split(0.1)
    found = find_provenance("run")
    assert found.parts.training.text == split.training and found.parts.validation.text == split.validation
    assert found.missing == ""
    done = quick_cli("report", "run", "--json", "--figures", "pictures")
    assert done.code == 0, done.err
    assert done.json["characters"] == len(split.validation) - 1
    assert [one["temperature"] for one in done.json["copies"]] == list(SAMPLE_TEMPERATURES)
    names = {path.name for path in Path("pictures").iterdir()}
    assert {"losses.png", "losses.svg", "surprisal.png", "gates.svg", "context.png", "grad_norm.png"} <= names
    Path("book.txt").write_text(text + "more")
    assert find_provenance("run").missing.code == "training_text_changed"
    Path("book.txt").unlink()
    assert find_provenance("run").missing.code == "training_text_unavailable"
    assert quick_cli("generate", "run", "--novelty").code == 2


def test_what_is_generated_can_be_compared(cli, text):
    Path("book.txt").write_text(text)
    sizes = ("--set", "hidden_size=16", "--set", "num_layers=1")
    done = cli("train", "book.txt", "-o", "run", "--steps", 40, *sizes)
    assert re.search(r"characters it writes, \d+\.\d % lie in copies .* of the held-out text it is \d", done.err)
    done = cli("generate", "run", "--novelty", "-n", 300, "--seed", 1, "-p", "The loom")
    assert re.search(r"\d+\.\d % of it in copies of more than 30 characters, the longest \d+", done.err)
    many = cli("generate", "run", "--novelty", "-n", 300, "--seed", 1, "--samples", 2, "--json").json["samples"]
    from charloom.inference.memorization import measure_memorization

    training = charloom.Corpus(text).split(0.1).training
    for one in many:
        assert one["novelty"]["longest"] == measure_memorization(one["text"], training).longest


def test_a_report_of_a_model_alone_and_of_a_text(cli, run, text):
    save_model(Path("model.safetensors"), charloom.load(run).saved)
    done = cli("report", "model.safetensors")
    assert done.code == 0 and "generated text" in done.err
    assert default_text(find_provenance("model.safetensors"))[2].code == "generated_text_analyzed"
    assert "Text generated by the model, 5,000 characters." in Path("report.html").read_text()
    Path("t.txt").write_text(text[:900])
    done = cli("report", "model.safetensors", "t.txt")  # an older report is written over
    assert done.code == 0 and "899 characters read" in done.out


def test_what_a_report_refuses(cli, run):
    Path("report.html").write_text("<p>mine</p>")
    done = cli("report", run)
    assert done.code == 2 and "no report of charloom" in done.err
    assert Path("report.html").read_text() == "<p>mine</p>"
    done = cli("report", run, "-o", "there/report.html")
    assert done.code == 2 and "no folder" in done.err
    done = cli("report", run, "nothing.txt", "-o", "r.html")
    assert done.code == 2 and "nothing.txt" in done.err and not Path("r.html").exists()
    Path("short.txt").write_text("T")
    assert "at least 2 characters" in cli("report", run, "short.txt", "-o", "r.html").err
    assert "never seen" in cli("report", run, "-o", "r.html", "-", stdin="Ωμέγα".encode()).err


def test_a_page_is_complete_in_itself_and_nothing_in_its_data_is_markup():
    hostile = '</script><script>alert(1)</script><img src=x onerror="alert(2)">\ud800 &amp; {data}'
    found = report_page({"name": hostile, "text": {"text": hostile}})
    assert found.count("<script") == 2 and "<img" not in found
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', found, re.S)[1]
    assert json.loads(data)["name"] == hostile
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", found) and "@import" not in found
    assert "default-src 'none'" in found and "unsafe" not in found
    assert len(report_page({"name": ""})) < 100_000
