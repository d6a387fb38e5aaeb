"""Bulk jobs: every line or text exactly once, equal to a single call, after interruptions, truncation and restarts."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import charloom
from charloom._util import extras
from charloom.bulk import dask as on_dask
from charloom.bulk import scoring as bulk_scoring
from charloom.bulk.generation import generation_job, text_seeds
from charloom.bulk.job import read_job
from charloom.bulk.results import FilterCounts, filter_lines, write_filtered, write_rows
from charloom.bulk.runner import _load_job, raise_if_failed, run_in_process, run_partition
from charloom.bulk.scoring import scoring_job
from charloom.data.text_format import TextRules
from charloom.data.vocabulary.bytes import ByteVocabulary
from charloom.errors import (
    CorpusError,
    InputError,
    JobError,
    MissingExtraError,
    ModelFileError,
    SettingsError,
    UnknownCharacterError,
)
from charloom.inference.engines.factory import engine_name
from charloom.model.file.model_file import save_model
from charloom.model.initializers import initial_weights
from support.errors import raises_code
from support.models import tiny_saved

FILES = {
    "one.txt": b"abc\nde ad\n\na\nbad cab ebb\nno end",
    "two.txt": b"ace\r\ncab\r\n\r\nabba\r\n",
    "none.txt": b"",
    "three.txt": b"dead",
}
KNOWN = {**FILES, "one.txt": FILES["one.txt"].replace(b"no end", b"be add")}


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model(Path("tiny.safetensors"), tiny_saved())
    write_files(KNOWN)
    return tmp_path


def write_files(files):
    for name, data in files.items():
        Path(name).write_bytes(data)


def job_of(folder="job", model="tiny.safetensors", texts=FILES, **options):
    return scoring_job(folder, model, list(texts), **{"partition_bytes": 9, "precision": "float32", **options})


def run(job):
    run_in_process(job)
    return list(job.rows())


def naive(model, contents, precision="float32"):
    """Yield the expected row of each line, scored one by one."""
    for i, data in enumerate(contents):
        offset = 0
        for line in data.split(b"\n"):
            if offset < len(data):
                text = line.decode("utf-8", "surrogateescape").removesuffix("\r")
                lines = model.saved.rules.lines
                score = model.score(text, precision=precision) if lines or len(text) > 1 else None
                yield {
                    "file": i,
                    "offset": offset,
                    "characters": score.characters if score else 0,
                    "nats": round(score.total_nats, 4) if score else None,
                    "bits_per_char": round(score.bits_per_char, 4) if score else None,
                    "unknown": 0,
                }
            offset += len(line) + 1


@pytest.mark.parametrize("partition_bytes", [5, 1000])
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_scoring_job_equals_a_loop_over_the_lines(workspace, partition_bytes, precision):
    rows = run(job_of(partition_bytes=partition_bytes, precision=precision))
    assert rows == list(naive(charloom.load("tiny.safetensors"), KNOWN.values(), precision))
    assert len(rows) == 11


def test_a_line_model_scores_the_end_of_every_line(workspace):
    save_model(Path("lines.safetensors"), replace(tiny_saved(), rules=TextRules(lines=True)))
    model = charloom.load("lines.safetensors")
    rows = run(job_of(model="lines.safetensors"))
    assert rows == list(naive(model, KNOWN.values()))
    assert [row["characters"] for row in rows[:4]] == [4, 6, 1, 2]


def test_a_byte_model_scores_invalid_utf8(workspace):
    architecture = replace(tiny_saved().architecture, vocabulary_size=256)
    weights = initial_weights(architecture, 1)
    saved = replace(tiny_saved(), architecture=architecture, vocabulary=ByteVocabulary(), weights=weights)
    save_model(Path("bytes"), saved)
    data = b"\xffab\nn\xc3\xa9e\n"
    write_files({"odd.txt": data})
    assert run(job_of(model="bytes", texts=["odd.txt"])) == list(naive(charloom.load("bytes"), [data]))


def test_long_lines_are_scored_separately_with_the_same_result(workspace, monkeypatch):
    whole = run(job_of("whole"))
    monkeypatch.setattr(bulk_scoring, "_MAX_BATCHED", 4)
    monkeypatch.setattr(bulk_scoring, "_BATCH_LINES", 2)
    assert run(job_of("alone", partition_bytes=1000)) == whole


def test_lines_with_unknown_characters_are_marked(workspace):
    write_files({"odd.txt": b"abc\nno zoo\nd\xff\nab\n"})
    first, second, third, fourth = run(job_of(texts=["odd.txt"]))
    assert [row["unknown"] for row in (first, second, third, fourth)] == [0, 5, 1, 0]
    assert second["nats"] is second["bits_per_char"] is third["nats"] is None and second["characters"] == 0
    assert first["nats"] > 0 and fourth["nats"] > 0


def test_marked_lines_of_a_line_model_have_no_score(workspace):
    save_model(Path("lines.safetensors"), replace(tiny_saved(), rules=TextRules(lines=True)))
    write_files({"odd.txt": b"no\nab\n"})
    marked, scored = run(job_of(model="lines.safetensors", texts=["odd.txt"]))
    assert (marked["nats"], marked["unknown"], scored["characters"]) == (None, 2, 3)


def test_unknown_characters_can_be_replaced(workspace):
    write_files({"odd.txt": b"abXYc\n"})
    (row,) = run(job_of(texts=["odd.txt"], unknown="replace"))
    expected = charloom.load("tiny.safetensors").score("ab  c")
    assert (row["nats"], row["unknown"]) == (round(expected.total_nats, 4), 2)


def test_an_unknown_character_can_fail_the_job_with_its_position(workspace):
    write_files({"odd.txt": b"abc\nbad\nbed\nab z\n"})
    job = job_of(texts=["odd.txt"], unknown="error")
    path = str(workspace.resolve() / "odd.txt")
    with raises_code("unknown_character", UnknownCharacterError, path=path, line=4, offset=12):
        run_in_process(job)
    assert job.missing() == [1]  # earlier partitions are kept


def test_a_restart_processes_only_missing_partitions(workspace):
    whole = run(job_of("whole"))
    job = job_of()
    for number in (0, 2, 3):
        raise_if_failed(run_partition(str(job.folder), job.digest, number))
    kept, truncated, missing = job.part_path(0), job.part_path(2), job.part_path(1)
    truncated.write_bytes(truncated.read_bytes()[:-7])
    job.part_path(3).write_bytes(kept.read_bytes())  # the part of another partition
    leftover = missing.with_name(f".{missing.name}.abcd.part")
    leftover.write_bytes(b'{"file": 0')
    before = kept.stat().st_mtime_ns
    again = job_of()
    assert 0 not in again.missing() and {1, 2, 3} <= set(again.missing())
    reported = []
    run_in_process(again, lambda *counts: reported.append(counts))
    assert list(again.rows()) == whole
    assert kept.stat().st_mtime_ns == before and not leftover.exists()
    assert reported[0] == (1, again.partitions) and reported[-1] == (again.partitions, again.partitions)


@pytest.mark.parametrize("length", range(0, 200, 13))
def test_a_truncated_part_is_missing(workspace, length):
    job = job_of(partition_bytes=1000)
    run_in_process(job)
    path = job.part_path(1)
    path.write_bytes(path.read_bytes()[:length])
    assert job.missing() == [1]
    with raises_code("incomplete_job", JobError, path=str(path)):
        list(job.rows())


def test_modified_rows_are_detected_when_read(workspace):
    job = job_of(partition_bytes=1000)
    run_in_process(job)
    path = job.part_path(0)
    path.write_bytes(path.read_bytes().replace(b'"offset": 4,', b'"offset": 5,'))
    with raises_code("damaged_part", JobError, path=str(path)):
        list(job.rows())


def test_the_folder_of_another_job_is_rejected(workspace):
    run(job_of())
    save_model(Path("other.safetensors"), tiny_saved("lstm"))
    with raises_code("job_mismatch", JobError, name="options.precision", existing="float32", requested="int8"):
        job_of(precision="int8")
    with raises_code("job_mismatch", JobError, name="partition_bytes", existing=9, requested=10):
        job_of(partition_bytes=10)
    with raises_code("job_mismatch", JobError, name="model_sha256"):
        job_of(model="other.safetensors")
    with raises_code("job_mismatch", JobError, name="files"):
        job_of(texts=["one.txt"])
    with raises_code("job_mismatch", JobError, name="work", existing="score", requested="write"):
        generation_job("job", "tiny.safetensors", 3)
    size = len(KNOWN["one.txt"])
    write_files({"one.txt": KNOWN["one.txt"] + b"\n"})
    with raises_code("job_mismatch", JobError, name="files.0.bytes", existing=size, requested=size + 1):
        job_of()


def test_a_folder_with_other_files_is_rejected(workspace):
    Path("job").mkdir()
    Path("job/diary.txt").write_text("mine")
    with raises_code("folder_not_empty", JobError, files=["diary.txt"]):
        job_of()
    with raises_code("job_not_found", JobError, path=str(workspace / "job")):
        read_job(workspace / "job")
    Path("job/manifest.json").write_text("[]")
    with raises_code("damaged_job", JobError):
        job_of()


def test_a_job_whose_creation_was_interrupted_is_created(workspace):
    job_of()
    Path("job/manifest.json").unlink()
    assert len(run(job_of())) == 11


def test_a_worker_detects_a_different_job_model_or_text(workspace):
    job = job_of()
    with raises_code("folder_not_shared", JobError, path=str(job.folder)):
        raise_if_failed(run_partition(str(job.folder), "0" * 64, 0))
    model = job.model_path.read_bytes()
    job.model_path.write_bytes(model[:-1])
    with raises_code("model_changed", JobError, path=str(job.model_path)):
        run_in_process(job)
    job.model_path.write_bytes(model)
    write_files({"one.txt": b"abc"})
    path = str(workspace.resolve() / "one.txt")
    with raises_code("source_changed", JobError, path=path, bytes=3, expected=len(KNOWN["one.txt"])):
        run_in_process(job)
    Path("one.txt").unlink()
    with raises_code("unreadable_file", JobError, path=path):
        run_in_process(job)


@pytest.mark.parametrize(
    ("texts", "code"),
    [
        (["one.txt"] * 2, "duplicate_text"),
        (["-"], "not_a_file"),
        (["."], "folder_inside_texts"),
    ],
)
def test_invalid_lists_of_texts_are_rejected(workspace, texts, code):
    with raises_code(code, CorpusError):
        job_of(texts=texts)
    with pytest.raises(CorpusError):
        job_of(texts=["absent.txt"])
    assert not Path("job").exists()


@pytest.mark.parametrize("option", [{"partition_bytes": 0}, {"precision": "int4"}, {"unknown": "skip"}])
def test_invalid_options_are_rejected(workspace, option):
    ((name, value),) = option.items()
    with raises_code("invalid_setting", SettingsError, name=name, value=value):
        job_of(**option)


def test_a_worker_uses_one_thread(workspace):
    if engine_name() != "native":
        pytest.skip("NumPy's threads are not the engine's")
    job = job_of()
    assert _load_job(str(job.folder), job.digest)[1].engine("int8")._threads == 1


def test_rows_are_written_to_one_file(workspace):
    job = job_of()
    run_in_process(job)
    assert write_rows(job, Path("rows.jsonl")) == 11
    assert [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()] == list(job.rows())
    with raises_code("file_exists", InputError, path="rows.jsonl"):
        write_rows(job, Path("rows.jsonl"))


def test_lines_are_filtered_by_perplexity(workspace):
    job = job_of()
    run_in_process(job)
    model = charloom.load("tiny.safetensors")
    lines = [line for data in KNOWN.values() for line in data.splitlines(keepends=True)]
    scores = {line: model.score(line.decode().strip()).perplexity for line in lines if len(line.strip()) > 1}
    minimum, maximum = np.quantile(sorted(scores.values()), [0.3, 0.7])
    counts = FilterCounts()
    kept = [line for line in lines if line in scores and minimum < scores[line] < maximum]
    assert 0 < len(kept) < len(scores)
    assert list(filter_lines(job, minimum, maximum, counts=counts)) == kept
    assert counts == FilterCounts(len(kept), len(scores) - len(kept), len(lines) - len(scores))
    assert list(filter_lines(job, 0, math.inf, unscored=True)) == lines
    assert write_filtered(job, Path("kept.txt")).kept == len(scores)
    expected = [line if line.endswith(b"\n") else line + b"\n" for line in lines if line in scores]
    assert Path("kept.txt").read_bytes() == b"".join(expected)


def test_a_text_that_changed_since_scoring_is_not_filtered(workspace):
    job = job_of()
    run_in_process(job)
    write_files({"three.txt": b"deed"})
    with raises_code("source_changed", JobError, path=str(workspace.resolve() / "three.txt")):
        write_filtered(job, Path("kept.txt"))
    assert not Path("kept.txt").exists() and not list(workspace.glob(".*.part"))


OPTIONS = {"prompt": "a", "length": 12, "temperature": 1.0, "seed": 5, "stop": ("\n",)}


def test_every_text_equals_a_single_generation_with_its_seed(workspace):
    model = charloom.load("tiny.safetensors")
    job = generation_job("set", "tiny.safetensors", 80, partition_texts=70, **OPTIONS)
    rows = run(job)
    assert [row["number"] for row in rows] == list(range(80))
    assert len({row["seed"] for row in rows}) == 80
    for row in rows[::8]:
        assert row["text"] == model.generate(**{**OPTIONS, "seed": row["seed"]})
    assert {row["finish_reason"] for row in rows} == {"length", "stop"}
    assert run(generation_job("cut", "tiny.safetensors", 9, partition_texts=1, **OPTIONS)) == rows[:9]
    assert run(generation_job("less", "tiny.safetensors", 7, **OPTIONS)) == rows[:7]
    assert run(generation_job("other", "tiny.safetensors", 7, **{**OPTIONS, "seed": 6})) != rows[:7]


def test_seeds_can_be_derived_from_any_position():
    words = np.random.Philox(key=[9, 2]).random_raw(40)
    expected = [int(word) >> 11 for word in words]
    assert [text_seeds(9, first, 1)[0] for first in range(40)] == expected
    assert text_seeds(9, 3, 30) == expected[3:33]


@pytest.mark.parametrize(
    ("texts", "options", "error"),
    [
        (0, {}, SettingsError),
        (1, {"length": 0}, SettingsError),
        (1, {"seed": -1}, SettingsError),
        (1, {"temperature": 1000}, SettingsError),
        (1, {"temprature": 1}, SettingsError),
        (1, {"prompt": "Z"}, UnknownCharacterError),
        (1, {"forbid": "Z"}, UnknownCharacterError),
        (1, {"model": "absent"}, ModelFileError),
    ],
)
def test_invalid_generation_jobs_are_rejected_before_anything_is_created(workspace, texts, options, error):
    with pytest.raises(error):
        generation_job("set", options.pop("model", "tiny.safetensors"), texts, **options)
    assert not Path("set").exists()


def test_dask_requires_one_backend_and_the_extra(workspace, monkeypatch):
    job = job_of()
    with raises_code("conflicting_options", SettingsError):
        on_dask.run_on_dask(job)
    with raises_code("invalid_setting", SettingsError, name="workers", value=0, minimum=1):
        on_dask.run_on_dask(job, workers=0)
    monkeypatch.setattr(extras, "find_spec", lambda _name: None)
    with raises_code("missing_extra", MissingExtraError, extra="bulk"):
        on_dask.run_on_dask(job, workers=1)
