"""Lines and sentences as units of memorization: how a text is divided, and which of them a source contains."""

import random

import pytest

import charloom
from charloom.data.text_format import TextFormat
from charloom.inference.memorization import (
    locate_passages,
    longest_passages,
    measure_memorization,
    measure_memorizations,
)
from charloom.inference.segments import LONG_LINE, MIN_SEGMENT, SegmentSearch, find_segments


def segments(text, **options):
    return [text[start:end] for start, end in find_segments(text, **options)]


def poem(seed, lines=60):
    """Lines of 18 to 29 characters of random words."""
    rng = random.Random(seed)
    word = lambda: "".join(rng.choices("abcdefghij", k=5))  # noqa: E731
    return [f"{word()} {word()} {word()} {word()}"[: rng.randrange(18, 24)].strip() + "," for _ in range(lines)]


def share(memorization):
    return len(memorization.copied_segments) / len(memorization.segments)


def test_lines_are_compared_without_whitespace_and_punctuation_at_their_ends():
    text = "  \u201cThe first line of it,\u201d \r\nYes.\r\n\r\n-----------------------\nand the second one -- "
    assert segments(text) == ["The first line of it", "and the second one"]


def test_a_long_line_is_divided_into_sentences():
    sentences = ["This is the first sentence of all.", 'He asked: "Is this the next?"', "No.", "The last has no end"]
    line = " ".join(sentences * 2)
    assert len(line) > LONG_LINE
    expected = ["This is the first sentence of all", 'He asked: "Is this the next', "The last has no end"]
    # a sentence without an end continues into the next one
    assert segments(line) == [*expected[:2], f"{expected[2]} {expected[0]}", expected[1], expected[2]]


def test_chinese_sentences_need_no_spaces_and_few_characters():
    line = "\u5e8a\u524d\u660e\u6708\u5149"
    assert segments(f"{line}\u3002\n\u597d\u3002\n") == [line]
    assert segments(f"{line}\u3002" * 30) == [line] * 30


def test_incomplete_segments_are_omitted_on_request():
    text = "the end of some line\na complete line here\nthe start of another"
    assert segments(text, first=False, last=False) == ["a complete line here"]
    assert segments(text + "\n", last=False)[-1] == "the start of another"


def test_short_segments_are_not_counted():
    assert segments("a" * (MIN_SEGMENT - 1)) == []
    assert segments("a" * MIN_SEGMENT) == ["a" * MIN_SEGMENT]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_segment_may_span_blocks(size):
    source = (
        "one line of the text\r\n" + "Some words without an end " * 10 + ". A sentence in prose. \nthe last line of it"
    )
    wanted = {"one line of the text", "A sentence in prose", "the last line of it", "line of the text"}
    search = SegmentSearch(wanted)
    for start in range(0, len(source), size):
        search.read(source[start : start + size])
    search.finish()
    assert search.found == wanted - {"line of the text"}


def test_a_source_without_lines_is_searched_in_bounded_memory():
    sentence = "This sentence is the one. "
    search = SegmentSearch({"This sentence is the one", "never found in this source"})
    for _ in range(20):
        search.read("x" * 50_000)
        assert len(search._rest) < 200_000
    search.read(". " + sentence + "Another one. " * 10)
    search.finish()
    assert search.found == {"This sentence is the one"}


def test_a_poem_of_stolen_lines_is_seen():
    """All lines are shorter than the limit of a copied run, and no two are neighbors in the source."""
    lines = poem(0)
    stolen = "\n".join(lines[::2])
    result = measure_memorization(stolen, "\n".join(lines))
    assert result.copied == 0 and result.longest < 30
    assert len(result.segments) == 30 and share(result) == 1


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_newlines_do_not_matter(newline):
    lines = poem(1)
    result = measure_memorization("\n".join(lines[::2]), newline.join(lines) + newline)
    assert share(result) == 1


def test_shuffled_words_and_independent_lines_are_not_copies():
    lines = poem(2)
    words = " ".join(lines).split()
    random.Random(0).shuffle(words)
    shuffled = "\n".join(" ".join(words[i : i + 4]) for i in range(0, len(words), 4))
    source = "\n".join(lines)
    for text in (shuffled, "\n".join(poem(3))):
        result = measure_memorization(text, source)
        assert len(result.segments) >= 30 and not result.copied_segments


def test_refrains_of_a_held_out_text_are_the_level_of_chance():
    """A third of the lines of each part is the same refrain."""
    refrain = "and so the song goes on,"
    training, held_out = ([line if i % 3 else refrain for i, line in enumerate(poem(seed))] for seed in (4, 5))
    assert share(measure_memorization("\n".join(held_out), "\n".join(training))) == pytest.approx(1 / 3)


def test_several_texts_are_measured_as_each_on_its_own(text):
    texts = [text[100:200], "", text[200:300], "zzz"]  # neighbors in the source are not one run
    together = measure_memorizations(texts, text)
    alone = [measure_memorization(item, text) for item in texts]
    assert [item.lengths.tolist() for item in together] == [item.lengths.tolist() for item in alone]
    assert [item.copied_segments for item in together] == [item.copied_segments for item in alone]
    assert [item.longest for item in together] == [100, 0, 100, 0]


def test_a_verbatim_paragraph_is_shown_once_with_its_place(text):
    training = charloom.Corpus(text).parts(0).training
    start = text.index("\n", 3000) + 1
    generated = "\u2603 " + text[start : start + 200] + "\u2603"
    (measured,) = measure_memorizations([generated], training.pieces())
    (passage,) = longest_passages([generated], [measured], training)
    assert passage.text == text[start : start + 200]
    assert passage.location.offset == text.index(passage.text)
    assert passage.location.line == text[: passage.location.offset].count("\n") + 1
    assert passage.location.record is None


def test_the_list_of_passages_counts_white_space_as_the_longest_run_does():
    training = charloom.Corpus("first line\nxx and the sea is yy\nlast line").parts(0).training
    generated = "QQ and the sea is QQ and the sea isQ\nlast liQ"
    (measured,) = measure_memorizations([generated], training.pieces())
    passages = longest_passages([generated], [measured], training, longer_than=5)
    assert [passage.text for passage in passages] == [" and the sea is ", "\nlast li"]
    assert len(passages[0].text) == measured.longest == 16
    assert [passage.location.line for passage in passages] == [2, 3]
    assert [passage.location.offset for passage in passages] == [13, 31]


def test_the_limit_of_a_run_can_be_chosen():
    result = measure_memorization("0123456789 ...", "xx 0123456789")
    assert result.copied_characters(9) == 10 and result.copied_characters(10) == 0 and result.copied == 0
    assert result.evidence(5) == [(0, 10)] and result.evidence() == []


@pytest.mark.parametrize(("options", "key"), [({"lines": True}, "line"), ({"records": "%"}, "record")])
def test_a_passage_is_located_in_lines_and_records(tmp_path, options, key):
    path = tmp_path / "texts.txt"
    separator = "\n" if key == "line" else "\n%\n"
    texts = [f"this is text number {i} of many" for i in range(100)]
    path.write_text(separator.join(texts))
    training = charloom.Corpus.read(path, text_format=TextFormat(**options)).parts(0.1).training
    kept = training.text.split(training.mark)
    found, missing = locate_passages([kept[50], "no such text"], training)
    assert missing is None
    assert getattr(found, key) == texts.index(kept[50]) + 1
    assert {"line": found.record, "record": found.line}[key] is None
