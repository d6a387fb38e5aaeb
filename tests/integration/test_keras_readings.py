"""The vocabulary of an imported Keras model from a text: the import finds out how the model's author read the text.

The models are bigram models in the form of a GRU, written as Keras files by charloom's exporter.
"""

import json
import random

import numpy as np
import pytest

from charloom.data.text_format import TextFormat
from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import InputError, ModelFileError
from charloom.inference.model import Model
from charloom.interop.keras.exporter import write_keras
from charloom.interop.keras.importer import import_keras
from charloom.model.architecture import Architecture
from charloom.model.file.model_file import SavedModel, save_model
from support.errors import cli_error, codes, raises_code

SENTENCE = "It was the best of times and worst age season Light Darkness spring hope winter Heaven we had everything"
WORDS = SENTENCE.split()


def prose(seed=0, characters=30_000, width=60):
    """Sentences of random words in lines of about 60 characters."""
    drawn, lines, line = random.Random(seed), [], ""
    while sum(map(len, lines)) < characters:
        line += drawn.choice(WORDS) + drawn.choice(["", "", "", ",", ".", "; for"]) + " "
        if len(line) > width:
            lines.append(line.rstrip())
            line = ""
    return "\n".join(lines) + "\n"


def bigram_model(text, unknown_ids=0, order=None, spread=1.0):
    """A GRU that predicts each character from the one before it, with the frequencies of a text.

    Args:
        text: The text as the author of the model read it.
        unknown_ids: Number of first ids that have no character.
        order: The characters in the order of their ids; None to sort them.
        spread: Factor of the logits; 0 for an untrained model.
    """
    characters = "".join(order or sorted(set(text)))
    vocabulary = Vocabulary("\U000f0000\U000f0001"[:unknown_ids] + characters)
    size = len(vocabulary)
    ids = vocabulary.encode(text).astype(int)
    counts = np.full((size, size), 1e-4)
    np.add.at(counts, (ids[:-1], ids[1:]), 1)
    logits = spread * np.log(counts / counts.sum(1, keepdims=True))
    architecture = Architecture(size, embedding_size=size, hidden_size=size, num_layers=1)
    weights = {name: np.zeros(shape, np.float32) for name, shape in architecture.parameter_shapes().items()}
    weights["embedding.weight"] = np.eye(size, dtype=np.float32)
    weights["layers.0.weight_ih"][2 * size :] = 5 * np.eye(size)  # n = tanh(5 x), the current character
    weights["layers.0.bias_ih"][size : 2 * size] = -30  # z = 0: nothing of the old state is kept
    weights["output.weight"] = np.ascontiguousarray(logits.T / np.tanh(5), np.float32)
    return SavedModel(architecture, vocabulary, weights)


@pytest.fixture
def imported(tmp_path):
    """Import a model with the vocabulary of a file with these bytes."""

    def run(saved, data, **options):
        (tmp_path / "book.txt").write_bytes(data)
        write_keras(tmp_path / "model.keras", saved)
        return import_keras(tmp_path / "model.keras", tmp_path / "book.txt", **options)

    return run


TEXT = prose()
CRLF = TEXT.replace("\n", "\r\n")
BOM = "\ufeff"


def lower_spaces(text):
    return text.lower().replace("\n", " ")


# the text in the file, the text as the author read it, number of ids without a character, the expected reading
READINGS = {
    "unchanged": (TEXT, TEXT, 0, None),
    "unk": (TEXT, TEXT, 1, None),
    "mask and unk": (TEXT, TEXT, 2, None),
    "bom": (BOM + TEXT, BOM + TEXT, 0, {"byte_order_mark": True, "newlines": "keep"}),
    "bom removed": (BOM + TEXT, TEXT, 0, {"byte_order_mark": False}),
    "bom and unk": (BOM + TEXT, BOM + TEXT, 1, {"byte_order_mark": True}),
    "bom removed and unk": (BOM + TEXT, TEXT, 1, "any"),
    "bom and lower": (BOM + TEXT, BOM + TEXT.lower(), 0, {"byte_order_mark": True, "lower_case": True}),
    "crlf kept": (CRLF, CRLF, 0, None),
    "crlf to lf": (CRLF, TEXT, 0, {"newlines": "lf"}),
    "crlf to lf and unk": (CRLF, TEXT, 1, {"newlines": "lf"}),
    "crlf kept and unk": (CRLF, CRLF, 1, None),
    "bom and crlf": (BOM + CRLF, BOM + CRLF, 0, {"byte_order_mark": True, "newlines": "keep"}),
    "bom and crlf to lf": (BOM + CRLF, BOM + TEXT, 0, {"byte_order_mark": True, "newlines": "lf"}),
    "bom removed and crlf": (BOM + CRLF, CRLF, 0, "any"),
    "lower": (TEXT, TEXT.lower(), 0, {"lower_case": True, "newlines_as_spaces": False}),
    "lower and unk": (TEXT, TEXT.lower(), 1, {"lower_case": True}),
    "lower with spaces": (TEXT, lower_spaces(TEXT), 0, {"lower_case": True, "newlines_as_spaces": True}),
    "spaces": (TEXT, TEXT.replace("\n", " "), 0, {"lower_case": False, "newlines_as_spaces": True}),
    "spaces and unk": (TEXT, TEXT.replace("\n", " "), 1, {"lower_case": False, "newlines_as_spaces": True}),
    "everything": (
        BOM + CRLF,
        lower_spaces(BOM + TEXT),
        0,
        {"byte_order_mark": True, "newlines": "lf", "lower_case": True, "newlines_as_spaces": True},
    ),
}


@pytest.mark.parametrize(("file", "read", "unknown", "expected"), READINGS.values(), ids=READINGS)
def test_reading_of_the_author_is_found(file, read, unknown, expected, imported):
    result = imported(bigram_model(read, unknown), file.encode())
    assert result.saved.vocabulary.characters == "".join(sorted(set(read)))
    sample = read[:3000]
    loss = Model(result.saved).score(sample).nats_per_char
    assert loss == pytest.approx(Model(bigram_model(read)).score(sample).nats_per_char, abs=0.01)
    chosen = [notice for notice in result.notices if notice.code == "text_reading_chosen"]
    if expected is None:
        assert not chosen
    elif expected != "any":
        assert expected.items() <= chosen[0].data["chosen"].items()
        assert chosen[0].data["chosen"]["unknown_ids"] == unknown
        assert chosen[0].data["chosen"]["loss"] < chosen[0].data["chosen"]["unigram_loss"]
    assert ("assumed_unknown_id" in codes(result.notices)) == (unknown > 0)
    assert ("byte_order_mark_removed" in codes(result.notices)) == (file[0] == BOM != read[0])
    assert result.saved.rules.newlines == ("lf" if "\r" in file and "\r" not in read else "keep")


def test_notice_reports_the_runner_up(imported):
    notices = imported(bigram_model(BOM + TEXT), (BOM + TEXT).encode()).notices
    chosen = next(notice for notice in notices if notice.code == "text_reading_chosen")
    first, second = chosen.data["chosen"], chosen.data["runner_up"]
    assert (second["unknown_ids"], second["newlines_as_spaces"]) == (1, True)
    # Spaces instead of newlines are easier to predict, also for a model of the text with newlines.
    assert second["loss"] < first["loss"]
    assert first["unigram_loss"] - first["loss"] > second["unigram_loss"] - second["loss"]


def test_text_in_lower_case_has_one_reading_less(imported):
    """Readings with the same ids count as one, the unchanged one."""
    result = imported(bigram_model(TEXT.lower()), TEXT.lower().encode())
    assert not result.notices


def test_greek_text_in_capitals(imported):
    """The lower case of a capital sigma depends on its position in the word."""
    text = TEXT.upper().translate(str.maketrans("ETSAR", "ΕΤΣΑΡ"))
    result = imported(bigram_model(text.lower()), text.encode())
    assert {"ς", "σ"} <= set(result.saved.vocabulary.characters)
    assert codes(result.notices) == ["text_reading_chosen"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "cp1252"])
def test_encoding_of_the_text(encoding, imported):
    text = TEXT.replace("we", "naïve")
    result = imported(bigram_model(text.lower()), text.encode(encoding), text_format=TextFormat(encoding=encoding))
    assert result.saved.vocabulary.characters == "".join(sorted(set(text.lower())))


class TestUnclear:
    """A reading is never guessed: without a clear winner, the import is refused."""

    def test_untrained_model_and_two_readings(self, imported):
        with raises_code("vocabulary_unclear", InputError, ids=len(set(BOM + TEXT))) as caught:
            imported(bigram_model(BOM + TEXT, spread=0), (BOM + TEXT).encode())
        tried = [(each["byte_order_mark"], each["unknown_ids"]) for each in caught.value.data["readings"]]
        assert {(True, 0), (False, 1)} <= set(tried)
        assert all(each["loss"] > 0 < each["unigram_loss"] for each in caught.value.data["readings"])

    def test_two_readings_with_equal_counts(self, imported):
        with raises_code("vocabulary_unclear", InputError):
            imported(bigram_model(BOM + TEXT, spread=0), (BOM + CRLF).encode())

    @pytest.mark.parametrize("unknown", [0, 1])
    def test_ids_in_another_order(self, unknown, imported):
        """The same characters in the order of their first appearance: under each reading, the model is a cipher."""
        saved = bigram_model(BOM + TEXT, unknown, order=dict.fromkeys(BOM + TEXT))
        with raises_code("vocabulary_unclear", InputError):
            imported(saved, (BOM + TEXT).encode())

    def test_ids_in_another_order_with_the_exact_count_give_a_notice(self, imported):
        saved = bigram_model(TEXT, order=dict.fromkeys(TEXT))
        assert codes(imported(saved, TEXT.encode()).notices) == ["vocabulary_doubtful"]

    def test_model_of_another_text(self, imported):
        other = prose(1).translate(str.maketrans("abcdefghijklm", "αβγδεζηθικλμν"))
        with raises_code("vocabulary_unclear", InputError):
            imported(bigram_model(other, 1), TEXT.encode())

    def test_short_text_with_two_equal_counts(self, imported):
        text = "It was\r\n"
        with raises_code("vocabulary_unclear", InputError, ids=8) as caught:
            imported(bigram_model(BOM + "It was\n"), (BOM + text).encode())
        assert all(each["loss"] is None for each in caught.value.data["readings"])

    def test_no_reading_with_the_count(self, imported):
        with raises_code("vocabulary_mismatch", InputError, ids=5) as caught:
            imported(bigram_model("a\nb c"), (BOM + TEXT).encode())
        counts = {each["reading"]: each["characters"] for each in caught.value.data["readings"]}
        assert counts["byte order mark kept"] == len(set(BOM + TEXT))
        assert counts["byte order mark removed, lower case"] == len(set(TEXT.lower()))


class TestCommand:
    def run(self, cli, *options):
        return cli("import", "m.keras", "--from", "keras", "-o", "m.safetensors", "--json", *options)

    def write(self, saved, data, folder):
        write_keras(folder / "m.keras", saved)
        (folder / "book.txt").write_bytes(data)

    @pytest.mark.parametrize(
        ("options", "newlines"), [(["--newlines", "lf"], "lf"), ([], "lf"), (["--newlines", "keep"], None)]
    )
    def test_given_newlines_restrict_the_readings(self, options, newlines, quick_cli, tmp_path):
        self.write(bigram_model(TEXT), CRLF.encode(), tmp_path)
        done = self.run(quick_cli, "--vocabulary", "book.txt", *options)
        if newlines is None:
            cli_error(done, "vocabulary_unclear")
        else:
            assert done.code == 0, done.err
            assert import_rules(tmp_path).newlines == newlines

    def test_encoding_without_byte_order_mark_restricts_the_readings(self, quick_cli, tmp_path):
        self.write(bigram_model(BOM + TEXT), (BOM + TEXT).encode(), tmp_path)
        done = self.run(quick_cli, "--vocabulary", "book.txt", "--encoding", "utf-8-sig")
        cli_error(done, "vocabulary_unclear")
        assert not any(each["byte_order_mark"] for each in done.error["readings"])

    def test_list_with_newlines(self, quick_cli, tmp_path):
        self.write(bigram_model(TEXT), b"", tmp_path)
        (tmp_path / "ids.json").write_text(json.dumps(sorted(set(TEXT))))
        done = self.run(quick_cli, "--vocabulary", "ids.json", "--newlines", "lf")
        assert done.code == 0, done.err
        assert import_rules(tmp_path).newlines == "lf"

    def test_options_without_a_text_are_rejected(self, quick_cli, tmp_path):
        self.write(bigram_model(TEXT), b"", tmp_path)
        cli_error(self.run(quick_cli, "--newlines", "lf"), "missing_option", option="--vocabulary")

    def test_binary_vocabulary(self, quick_cli, tmp_path):
        self.write(bigram_model(TEXT), b"a\0b" * 99, tmp_path)
        done = self.run(quick_cli, "--vocabulary", "book.txt")
        cli_error(done, "binary_file")
        assert "--unit" not in done.error["message"]

    def test_charloom_model_needs_no_import(self, quick_cli, tmp_path):
        save_model(tmp_path / "own.safetensors", bigram_model(TEXT))
        done = quick_cli("import", "own.safetensors", "--from", "keras", "-o", "m.safetensors", "--json")
        cli_error(done, "already_charloom_model", path="own.safetensors")

    def test_run_folder_needs_no_import(self, tmp_path):
        (tmp_path / "run").mkdir()
        save_model(tmp_path / "run" / "model.safetensors", bigram_model(TEXT))
        with raises_code("already_charloom_model", ModelFileError):
            import_keras(tmp_path / "run")


def import_rules(folder):
    return Model.load(folder / "m.safetensors").rules
