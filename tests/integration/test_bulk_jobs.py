"""Bulk jobs: every line or text exactly once, as one alone would be, whatever was killed, cut short or asked again."""

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
def desk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model(Path("tiny.safetensors"), tiny_saved())
    put(KNOWN)
    return tmp_path


def put(files):
    for name, data in files.items():
        Path(name).write_bytes(data)


def job_of(folder="job", model="tiny.safetensors", texts=FILES, **options):
    return scoring_job(folder, model, list(texts), **{"partition_bytes": 9, "precision": "float32", **options})


def done(job):
    run_in_process(job)
    return list(job.rows())


def naive(model, contents, precision="float32"):
    """A row for each line, from a loop over the lines."""
    for i, data in enumerate(contents):
        offset = 0
        for line in data.split(b"\n"):
            if offset < len(data):
                text = line.decode("utf-8", "surrogateescape").removesuffix("\r")
                lines = model.saved.lines
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
def test_a_bulk_score_is_the_loop_over_the_lines(desk, partition_bytes, precision):
    found = done(job_of(partition_bytes=partition_bytes, precision=precision))
    assert found == list(naive(charloom.load("tiny.safetensors"), KNOWN.values(), precision))
    assert len(found) == 11


def test_a_model_of_lines_is_asked_for_the_end_of_every_line(desk):
    save_model(Path("lines.safetensors"), replace(tiny_saved(), lines=True))
    model = charloom.load("lines.safetensors")
    found = done(job_of(model="lines.safetensors"))
    assert found == list(naive(model, KNOWN.values()))
    assert [row["characters"] for row in found[:4]] == [4, 6, 1, 2]


def test_a_model_of_bytes_scores_what_is_no_text(desk):
    architecture = replace(tiny_saved().architecture, vocabulary_size=256)
    weights = initial_weights(architecture, 1)
    saved = replace(tiny_saved(), architecture=architecture, vocabulary=ByteVocabulary(), weights=weights)
    save_model(Path("bytes"), saved)
    data = b"\xffab\nn\xc3\xa9e\n"
    put({"odd.txt": data})
    assert done(job_of(model="bytes", texts=["odd.txt"])) == list(naive(charloom.load("bytes"), [data]))


def test_long_lines_are_scored_alone_and_the_same(desk, monkeypatch):
    whole = done(job_of("whole"))
    monkeypatch.setattr(bulk_scoring, "_MAX_BATCHED", 4)
    monkeypatch.setattr(bulk_scoring, "_BATCH_LINES", 2)
    assert done(job_of("alone", partition_bytes=1000)) == whole


def test_lines_with_unknown_characters_are_marked_and_never_lost(desk):
    put({"odd.txt": b"abc\nno zoo\nd\xff\nab\n"})
    first, second, third, fourth = done(job_of(texts=["odd.txt"]))
    assert [row["unknown"] for row in (first, second, third, fourth)] == [0, 5, 1, 0]
    assert second["nats"] is second["bits_per_char"] is third["nats"] is None and second["characters"] == 0
    assert first["nats"] > 0 and fourth["nats"] > 0


def test_marked_lines_of_a_model_of_lines_have_no_score_either(desk):
    save_model(Path("lines.safetensors"), replace(tiny_saved(), lines=True))
    put({"odd.txt": b"no\nab\n"})
    marked, scored = done(job_of(model="lines.safetensors", texts=["odd.txt"]))
    assert (marked["nats"], marked["unknown"], scored["characters"]) == (None, 2, 3)


def test_unknown_characters_are_replaced_if_asked(desk):
    put({"odd.txt": b"abXYc\n"})
    (row,) = done(job_of(texts=["odd.txt"], unknown="replace"))
    expected = charloom.load("tiny.safetensors").score("ab  c")
    assert (row["nats"], row["unknown"]) == (round(expected.total_nats, 4), 2)


def test_an_unknown_character_may_end_the_job_with_its_place(desk):
    put({"odd.txt": b"abc\nbad\nbed\nab z\n"})
    job = job_of(texts=["odd.txt"], unknown="error")
    path = str(desk.resolve() / "odd.txt")
    with raises_code("unknown_character", UnknownCharacterError, path=path, line=4, offset=12):
        run_in_process(job)
    assert job.missing() == [1]  # what came before stays


def test_a_restart_does_what_is_missing_and_nothing_else(desk):
    whole = done(job_of("whole"))
    job = job_of()
    for number in (0, 2, 3):
        raise_if_failed(run_partition(str(job.folder), job.digest, number))
    kept, cut_short, missing = job.part_path(0), job.part_path(2), job.part_path(1)
    cut_short.write_bytes(cut_short.read_bytes()[:-7])
    job.part_path(3).write_bytes(kept.read_bytes())  # another partition's
    leftover = missing.with_name(f".{missing.name}.abcd.part")
    leftover.write_bytes(b'{"file": 0')
    before = kept.stat().st_mtime_ns
    again = job_of()
    assert 0 not in again.missing() and {1, 2, 3} <= set(again.missing())
    told = []
    run_in_process(again, lambda *figures: told.append(figures))
    assert list(again.rows()) == whole
    assert kept.stat().st_mtime_ns == before and not leftover.exists()
    assert told[0] == (1, again.partitions) and told[-1] == (again.partitions, again.partitions)


@pytest.mark.parametrize("length", range(0, 200, 13))
def test_a_part_cut_short_anywhere_does_not_count(desk, length):
    job = job_of(partition_bytes=1000)
    run_in_process(job)
    path = job.part_path(1)
    path.write_bytes(path.read_bytes()[:length])
    assert job.missing() == [1]
    with raises_code("incomplete_job", JobError, path=str(path)):
        list(job.rows())


def test_rows_that_were_changed_are_found_when_they_are_read(desk):
    job = job_of(partition_bytes=1000)
    run_in_process(job)
    path = job.part_path(0)
    path.write_bytes(path.read_bytes().replace(b'"offset": 4,', b'"offset": 5,'))
    with raises_code("damaged_part", JobError, path=str(path)):
        list(job.rows())


def test_the_folder_of_another_job_is_refused(desk):
    done(job_of())
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
    put({"one.txt": KNOWN["one.txt"] + b"\n"})
    with raises_code("job_mismatch", JobError, name="files.0.bytes", existing=size, requested=size + 1):
        job_of()


def test_a_folder_of_something_else_is_refused(desk):
    Path("job").mkdir()
    Path("job/diary.txt").write_text("mine")
    with raises_code("folder_not_empty", JobError, files=["diary.txt"]):
        job_of()
    with raises_code("job_not_found", JobError, path=str(desk / "job")):
        read_job(desk / "job")
    Path("job/manifest.json").write_text("[]")
    with raises_code("damaged_job", JobError):
        job_of()


def test_a_job_that_died_while_it_was_made_is_made(desk):
    job_of()
    Path("job/manifest.json").unlink()
    assert len(done(job_of())) == 11


def test_a_worker_that_sees_another_job_or_model_or_text_says_so(desk):
    job = job_of()
    with raises_code("folder_not_shared", JobError, path=str(job.folder)):
        raise_if_failed(run_partition(str(job.folder), "0" * 64, 0))
    model = job.model_path.read_bytes()
    job.model_path.write_bytes(model[:-1])
    with raises_code("model_changed", JobError, path=str(job.model_path)):
        run_in_process(job)
    job.model_path.write_bytes(model)
    put({"one.txt": b"abc"})
    path = str(desk.resolve() / "one.txt")
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
def test_invalid_lists_of_texts_are_rejected(desk, texts, code):
    with raises_code(code, CorpusError):
        job_of(texts=texts)
    with pytest.raises(CorpusError):
        job_of(texts=["absent.txt"])
    assert not Path("job").exists()


@pytest.mark.parametrize("option", [{"partition_bytes": 0}, {"precision": "int4"}, {"unknown": "skip"}])
def test_options_that_are_none_are_refused(desk, option):
    ((name, value),) = option.items()
    with raises_code("invalid_setting", SettingsError, name=name, value=value):
        job_of(**option)


def test_a_worker_has_one_thread(desk):
    if engine_name() != "native":
        pytest.skip("NumPy's threads are not the engine's")
    job = job_of()
    assert _load_job(str(job.folder), job.digest)[1].engine("int8")._threads == 1


def test_rows_are_written_to_one_file(desk):
    job = job_of()
    run_in_process(job)
    assert write_rows(job, Path("rows.jsonl")) == 11
    assert [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()] == list(job.rows())
    with pytest.raises(InputError, match="exists already"):
        write_rows(job, Path("rows.jsonl"))


def test_lines_are_kept_by_their_perplexity(desk):
    job = job_of()
    run_in_process(job)
    model = charloom.load("tiny.safetensors")
    lines = [line for data in KNOWN.values() for line in data.splitlines(keepends=True)]
    cost = {line: model.score(line.decode().strip()).perplexity for line in lines if len(line.strip()) > 1}
    least, most = np.quantile(sorted(cost.values()), [0.3, 0.7])
    counts = FilterCounts()
    kept = [line for line in lines if line in cost and least < cost[line] < most]
    assert 0 < len(kept) < len(cost)
    assert list(filter_lines(job, least, most, counts=counts)) == kept
    assert counts == FilterCounts(len(kept), len(cost) - len(kept), len(lines) - len(cost))
    assert list(filter_lines(job, 0, math.inf, unscored=True)) == lines
    assert write_filtered(job, Path("kept.txt")).kept == len(cost)
    expected = [line if line.endswith(b"\n") else line + b"\n" for line in lines if line in cost]
    assert Path("kept.txt").read_bytes() == b"".join(expected)


def test_a_text_that_changed_is_not_filtered_by_its_old_scores(desk):
    job = job_of()
    run_in_process(job)
    put({"three.txt": b"deed"})
    with raises_code("source_changed", JobError, path=str(desk.resolve() / "three.txt")):
        write_filtered(job, Path("kept.txt"))
    assert not Path("kept.txt").exists() and not list(desk.glob(".*.part"))


OPTIONS = {"prompt": "a", "length": 12, "temperature": 1.0, "seed": 5, "stop": ("\n",)}


def test_every_text_is_what_its_seed_writes_alone(desk):
    model = charloom.load("tiny.safetensors")
    job = generation_job("set", "tiny.safetensors", 80, partition_texts=70, **OPTIONS)
    found = done(job)
    assert [row["number"] for row in found] == list(range(80))
    assert len({row["seed"] for row in found}) == 80
    for row in found[::8]:
        assert row["text"] == model.generate(**{**OPTIONS, "seed": row["seed"]})
    assert {row["finish_reason"] for row in found} == {"length", "stop"}
    assert done(generation_job("cut", "tiny.safetensors", 9, partition_texts=1, **OPTIONS)) == found[:9]
    assert done(generation_job("less", "tiny.safetensors", 7, **OPTIONS)) == found[:7]
    assert done(generation_job("other", "tiny.safetensors", 7, **{**OPTIONS, "seed": 6})) != found[:7]


def test_seeds_are_found_without_those_before():
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
def test_a_set_that_cannot_be_written_is_refused_before_anything_is_made(desk, texts, options, error):
    with pytest.raises(error):
        generation_job("set", options.pop("model", "tiny.safetensors"), texts, **options)
    assert not Path("set").exists()


def test_dask_is_an_extra(desk, monkeypatch):
    job = job_of()
    with raises_code("conflicting_options", SettingsError):
        on_dask.run_on_dask(job)
    with raises_code("invalid_setting", SettingsError, name="workers", value=0, minimum=1):
        on_dask.run_on_dask(job, workers=0)
    monkeypatch.setattr(extras, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"charloom\[bulk\]"):
        on_dask.run_on_dask(job, workers=1)
