"""What --novelty reports, with planted copies in texts that no model generated."""

import random

import pytest

from charloom import Corpus
from charloom.cli import novelty
from charloom.cli.novelty import GeneratedText, check_novelty
from charloom.data.text_format import TextFormat


def words(seed, count):
    rng = random.Random(seed)
    return ["".join(rng.choices("abcdefghij", k=5)) for _ in range(count)]


def lines(seed, count):
    """Lines of 23 characters."""
    drawn = words(seed, 4 * count)
    return [" ".join(drawn[i : i + 4]) for i in range(0, len(drawn), 4)]


def check(texts, corpus, longer_than=30, val_fraction=0.2, **options):
    options = {"prompt": "", "label": None, "is_complete": True} | options
    return check_novelty([GeneratedText(text, **options) for text in texts], corpus.parts(val_fraction), longer_than)


VERSE = lines(0, 500)


def test_one_summary_names_the_samples_that_copy():
    stolen, own = "\n".join(VERSE[10:200:7]), "\n".join(lines(1, 30))
    report = check([own, stolen, own[:200]], Corpus("\n".join(VERSE)))
    of_stolen = report.of_each[1]
    assert of_stolen["copied"] == 0 and of_stolen["copied_segments"] == of_stolen["segments"] == 28
    assert report.summary["copying_samples"] == [2]
    assert report.summary["copied_segments"] == 28 and report.summary["segments"] == 28 + 30 + 8
    assert report.summary["held_out"]["segments"] > 90 and report.summary["held_out"]["copied_segments"] == 0
    assert [row["line"] for row in report.summary["passages"]] == [11, 18, 25]
    assert {row["sample"] for row in report.summary["passages"]} == {2}


def test_what_held_out_text_copies_as_well_is_no_sign_of_copying():
    refrain = [line if i % 2 else "and so the song goes on" for i, line in enumerate(VERSE)]
    own = [line if i % 3 else "and so the song goes on" for i, line in enumerate(lines(1, 30))]
    report = check(["\n".join(own)], Corpus("\n".join(refrain)))
    assert report.of_each[0]["copied_segments"] == 10
    assert report.summary["held_out"]["copied_segments"] / report.summary["held_out"]["segments"] == pytest.approx(
        0.5, abs=0.02
    )
    assert report.summary["copying_samples"] == []


def test_a_verbatim_paragraph_of_prose():
    sentences = [f"{line.capitalize()}." for line in VERSE]
    prose = "\r\n\r\n".join(" ".join(sentences[i : i + 10]) for i in range(0, 500, 10))
    paragraph = " ".join(sentences[20:30])
    own = " ".join(f"{line.capitalize()}." for line in lines(1, 10))
    report = check([f"{own}\n\n{paragraph}\n"], Corpus(prose))
    (passage,) = report.summary["passages"]
    assert report.summary["copied_segments"] == 10 and report.summary["segments"] == 20
    assert passage["line"] == 5 and prose[passage["offset"] :].startswith(passage["text"])
    assert paragraph in passage["text"]
    assert report.noun == "lines or sentences"


def test_incomplete_lines_are_not_compared():
    text = VERSE[3][5:] + "\n" + VERSE[4] + "\n" + VERSE[5][:20]
    report = check([VERSE[3][:5] + text], Corpus("\n".join(VERSE)), prompt=VERSE[3][:5], is_complete=False)
    assert report.summary["segments"] == report.summary["copied_segments"] == 1


def test_without_held_out_text_there_is_no_level_of_chance():
    report = check([VERSE[0], "Yes."], Corpus("\n".join(VERSE)), val_fraction=0.0)
    assert report.summary["held_out"] is None and report.summary["copying_samples"] == [1]


@pytest.mark.parametrize(("options", "key"), [({"lines": True}, "lines"), ({"records": "%"}, "records")])
def test_copied_lines_and_records_are_counted_as_a_whole(tmp_path, options, key):
    path = tmp_path / "texts.txt"
    path.write_text(("\n" if key == "lines" else "\n%\n").join(VERSE))
    corpus = Corpus.read(path, text_format=TextFormat(**options))
    kept = corpus.parts(0.2).training.text.split("\n" if key == "lines" else "\x1e")
    report = check([kept[7], "a line of one's own text"], corpus)
    assert report.summary[key] == 2 and report.summary[f"copied_{key}"] == 1
    assert report.summary["copying_samples"] == [1]
    assert report.summary["held_out"][key] > 90 and report.summary["held_out"][f"copied_{key}"] == 0
    assert report.summary["passages"][0][key[:-1]] == VERSE.index(kept[7]) + 1


def test_many_texts_are_compared_in_groups(monkeypatch):
    texts = ["\n".join(VERSE[i : i + 3]) for i in range(0, 30, 3)]
    expected = check(texts, Corpus("\n".join(VERSE)))
    monkeypatch.setattr(novelty, "_MAX_GROUP", 150)
    assert check(texts, Corpus("\n".join(VERSE))) == expected
    assert [len(texts[rows]) for rows in novelty._groups(texts)] == [2, 2, 2, 2, 2]
