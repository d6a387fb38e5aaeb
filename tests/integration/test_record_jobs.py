"""Models of records and labels in bulk jobs, ``info`` and the ONNX example."""

import json
import runpy
from pathlib import Path

import pytest

import charloom
from charloom.bulk.generation import generation_job
from charloom.bulk.runner import run_in_process
from charloom.bulk.scoring import scoring_job
from charloom.cli.commands import tune
from charloom.cli.main import main
from charloom.data.corpus import Corpus
from charloom.data.text_format import TextFormat, TextRules
from charloom.errors import JobError
from charloom.interop.hub.model_card import model_card
from charloom.model.architecture import Architecture
from charloom.model.file.model_file import SavedModel, load_model, save_model
from charloom.model.initializers import initial_weights
from charloom.tuning.workers import worker_arguments
from support.errors import raises_code

LABELS = {"ab": 3, "cd": 1}
ROOT = Path(__file__).parents[2]


def record_model(path, **rules):
    vocabulary = charloom.Vocabulary("\n\x1e" + "\x1f" * bool(rules.get("labels")) + " abcde")
    architecture = Architecture(len(vocabulary), embedding_size=4, hidden_size=8)
    saved = SavedModel(architecture, vocabulary, initial_weights(architecture, 1), rules=TextRules(**rules))
    save_model(Path(path), saved)
    return str(path)


@pytest.mark.parametrize("labels", [{}, LABELS])
@pytest.mark.parametrize("options", [{}, {"prompt": "ab c"}])
def test_generated_rows_equal_single_calls(tmp_path, labels, options):
    path = record_model(tmp_path / "m.safetensors", records="%", labels=labels)
    job = generation_job(tmp_path / "job", path, 12, length=40, seed=5, partition_texts=5, **options)
    run_in_process(job)
    rows, model = list(job.rows()), charloom.load(path)
    assert len(rows) == 12
    for row in rows:
        call = {"length": 40, "seed": row["seed"], **options}
        assert row["text"] == model.generate(**call)
        assert not {"\x1e", "\x1f"} & set(row["text"])
        assert ("label" in row) == bool(labels)
        if labels:
            assert row["text"] == model.generate(**call, label=row["label"])
    assert not labels or {row["label"] for row in rows} <= set(labels)
    assert "stop" in {row["finish_reason"] for row in rows}


@pytest.mark.parametrize("records", ["%", "blank", "file", ""])
def test_bulk_scoring_refuses_models_of_records(tmp_path, records):
    path = record_model(tmp_path / "m.safetensors", records=records)
    (tmp_path / "text.txt").write_text("ab\ncd\n%\nab\n")
    with raises_code("bulk_record_model", JobError, model=path, records=records):
        scoring_job(tmp_path / "job", path, [str(tmp_path / "text.txt")])
    assert not (tmp_path / "job").exists()


@pytest.mark.parametrize("records", ["%", "blank", "file", ""])
def test_info_shows_the_rules_of_the_texts(cli, records):
    labels = {f"label {i}": i + 1 for i in range(12)}
    path = record_model("m.safetensors", records=records, labels=labels, newlines="lf", normalize="nfc")
    facts = json.loads(cli("info", path, "--json").out)
    assert {key: facts[key] for key in ("records", "labels", "newlines", "normalize")} == {
        "records": records,
        "labels": labels,
        "newlines": "lf",
        "normalize": "nfc",
    }
    text = cli("info", path).out
    shown = [line for line in text.splitlines() if line.startswith(("records", "labels", "newlines", "normal form"))]
    assert len(shown) == 4
    assert "'label 11' (12)" in shown[1] and "'label 1' (" not in shown[1]


@pytest.mark.parametrize("labels", [{}, LABELS])
def test_the_onnx_example_stops_at_the_end_of_a_record(tmp_path, labels):
    pytest.importorskip("onnxruntime")
    path = record_model(tmp_path / "m.safetensors", records="%", labels=labels)
    assert not main(["export", path, "--to", "onnx", "-o", str(tmp_path / "m.onnx")])
    generate = runpy.run_path(str(ROOT / "examples" / "onnx_generate.py"))["generate"]
    arguments = ["ab"] if labels else []
    texts = ["".join(generate(str(tmp_path / "m.onnx"), "a", 200, 1.0, seed, *arguments)) for seed in range(5)]
    assert all(text.startswith("a") and not {"\x1e", "\x1f"} & set(text) for text in texts)
    assert min(map(len, texts)) < 201
    with pytest.raises(SystemExit):
        list(generate(str(tmp_path / "m.onnx"), "a", 5, 1.0, 1, "zz"))


def test_a_model_card_lists_the_rules_of_the_texts(tmp_path):
    path = record_model(tmp_path / "m.safetensors", records="%", labels={"a|b <c>": 2})
    card = model_card(load_model(path), "ada/letters")
    assert "| records |" in card and "| labels |" in card
    assert "a|b" not in card and "<c>" not in card  # escaped


def test_a_tuning_worker_reads_the_same_corpus(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_bytes('text;genre\n"é;b";x\nno;y\n'.encode())
    (tmp_path / "b.csv").write_text('text;genre\n"é\nb";x\n', encoding="utf-8")
    text_format = TextFormat(normalize="nfc", column="text", label="genre", delimiter=";", table="csv")
    expected = Corpus.read(str(tmp_path), text_format=text_format)
    seen = []
    monkeypatch.setattr(tune, "_run_worker", lambda corpus, *rest: seen.append(corpus))
    assert not main(worker_arguments(tmp_path / "search", text_format, "cpu", [str(tmp_path)], 0.0))
    assert seen[0].format == text_format and seen[0].sha256 == expected.sha256
    assert seen[0].labels == expected.labels == {"x": 2, "y": 1}
