"""Byte models: texts and files round-trip unchanged, and incomplete characters are never shown."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import charloom
from charloom.data.vocabulary.bytes import BYTES, ByteVocabulary, make_vocabulary
from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import CorpusError, UnknownCharacterError
from charloom.inference.model import Model
from charloom.model.architecture import Architecture
from charloom.model.file.model_file import SavedModel, load_model, save_model
from charloom.model.initializers import initial_weights
from support.errors import cli_error, raises_code
from support.reliability import counts


@pytest.fixture(scope="module")
def model():
    """An untrained byte model."""
    architecture = Architecture(256, "gru", 8, 16, 1)
    return Model(SavedModel(architecture, ByteVocabulary(), initial_weights(architecture, 0)))


@counts(500, 100_000)
def test_byte_strings_round_trip(report_trials, count):
    vocabulary = ByteVocabulary()

    @settings(max_examples=count, deadline=None, database=None)
    @given(st.binary(max_size=60))
    def check(data):
        ids = np.frombuffer(data, np.uint8)
        text = vocabulary.decode(ids)
        assert vocabulary.encode(text).tobytes() == data == text.encode("utf-8", "surrogateescape")

    check()
    report_trials("unusual_texts", "byte strings to text and back, byte vocabulary", count, "all unchanged")


@counts(500, 100_000)
def test_texts_round_trip(report_trials, count):
    vocabulary = ByteVocabulary()

    @settings(max_examples=count, deadline=None, database=None)
    @given(st.text(max_size=60))
    def check(text):
        assert vocabulary.decode(vocabulary.encode(text)) == text
        sizes = vocabulary.sizes(text)
        assert (len(text) if sizes is None else sizes.sum()) == len(vocabulary.encode(text))
        if text:
            known = Vocabulary.from_text(text)
            assert known.decode(known.encode(text)) == text

    check()
    report_trials("unusual_texts", "texts to ids and back, character and byte vocabularies", count, "all unchanged")


def test_lone_surrogates_are_rejected():
    vocabulary = ByteVocabulary()
    with raises_code("lone_surrogate", UnknownCharacterError, code_point="U+D800", position=1):
        vocabulary.encode("a\ud800")
    assert vocabulary.unknown("a\ud800\udc80é") == "\ud800" and "é" in vocabulary and "\ud800" not in vocabulary
    assert vocabulary.displayed("né\udcff!") == "né·\ufffd!" and vocabulary.displayed("ab") == "ab"
    assert vocabulary.names()[0x41] == "A" and vocabulary.names()[0xC3] == "\\xc3"
    with pytest.raises(IndexError):
        vocabulary.decode([256])
    assert vocabulary == ByteVocabulary() != Vocabulary(BYTES) and Vocabulary(BYTES) != vocabulary


def test_pieces_contain_no_incomplete_characters(model):
    whole = model.generate("né", length=3000, seed=1)
    pieces = list(model.stream("né", length=3000, seed=1))
    assert "".join(pieces) == whole and len(pieces) > 3
    for piece in pieces:
        assert piece.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape") == piece
    # the text has all sampled bytes except an incomplete character at the end
    data = whole.encode("utf-8", "surrogateescape")
    assert 3000 - 3 <= len(data) - len("né".encode()) <= 3000


def test_an_incomplete_character_at_the_end_is_dropped():
    architecture = Architecture(256, "gru", 4, 4, 1)
    weights = initial_weights(architecture, 0)
    weights["output.bias"][:] = -50
    weights["output.bias"][0xC3] = 50  # always the first byte of a two-byte character
    model = Model(SavedModel(architecture, ByteVocabulary(), weights))
    assert model.generate("", length=1, seed=0) == ""
    assert model.generate("", length=3, seed=0) == "\udcc3\udcc3"  # the first two are invalid, the third is incomplete


def test_the_score_of_a_text_is_the_sum_over_its_bytes(model):
    text = "naïve – 長い\udcff!"
    result = model.score(text)
    data = np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8).astype(np.intp)
    logits, _ = model.engine().forward(data[None, :-1], model.engine().initial_state(1))
    exact = logits[0].astype(np.float64)
    nats = np.log(np.exp(exact).sum(1)) - exact[np.arange(len(data) - 1), data[1:]]
    assert result.characters == len(text) - 1
    assert math.isclose(result.total_nats, nats.sum(), rel_tol=1e-9)
    offset = len(b"na")  # ï is the sum of its two bytes
    assert math.isclose(result.surprisals[1], nats[offset - 1 : offset + 1].sum() / math.log(2), rel_tol=1e-9)
    assert np.allclose(model.score_many([text, "x", "éé"])[0].surprisals, result.surprisals)
    assert model.score_many(["é", "éé"])[0].characters == 0
    blocks = list(model.surprisal_blocks(["naï", "ve – 長い\udcff!"]))
    assert "".join(characters for characters, _ in blocks) == text[1:]
    assert np.allclose(np.concatenate([bits for _, bits in blocks]), result.surprisals)


def test_a_multi_byte_first_character_is_not_scored(model):
    assert model.score("é!").characters == 1
    with pytest.raises(CorpusError):
        model.score("é")


def test_log_probs_of_generation_are_per_character(model):
    from charloom.inference.generation import make_request

    request, precision = make_request("", 400, 1.0, 3, {"precision": "float32"}, log_probs=True)
    pieces = list(model.pieces(request, precision))
    text, logs = "".join(p.text for p in pieces), [x for p in pieces for x in p.log_probs]
    assert len(logs) == len(text)
    scored = model.score("\n" + text)
    assert np.allclose(np.array(logs) / -math.log(2), scored.surprisals, atol=1e-3)


def test_a_byte_model_is_saved_and_loaded(model, tmp_path):
    save_model(tmp_path / "m.safetensors", model.saved)
    again = load_model(tmp_path / "m.safetensors")
    assert again.vocabulary == ByteVocabulary() and again.vocabulary.unit == "byte"
    with pytest.raises(CorpusError):
        make_vocabulary(BYTES[:-1], "byte")


def test_a_binary_file_is_trained_on_and_scored(tmp_path, quick_cli):
    (tmp_path / "any.bin").write_bytes(np.random.default_rng(0).integers(0, 256, 4000, np.uint8).tobytes())
    sizes = ("--set", "hidden_size=8", "--steps", 5, "-q")
    assert (
        quick_cli("train", str(tmp_path / "any.bin"), "--unit", "byte", "-o", str(tmp_path / "run"), *sizes).code == 0
    )
    done = quick_cli("score", str(tmp_path / "run"), str(tmp_path / "any.bin"), "--json")
    assert done.code == 0, done.err
    assert quick_cli("report", str(tmp_path / "run"), "-o", str(tmp_path / "r.html"), "-q").code == 0
    info = quick_cli("info", str(tmp_path / "run"), "--json").json
    assert info["unit"] == "byte" and info["vocabulary_size"] == 256
    again = quick_cli("train", "--resume", str(tmp_path / "run"), "--steps", 3, "-q")
    assert again.code == 0, again.err
    grown = quick_cli("train", "python-docs", "--init", str(tmp_path / "run"), "--steps", 3, "-q", "--json")
    cli_error(grown, "unit_mismatch", model_unit="byte", text_unit="char")


def test_a_byte_corpus_from_a_text():
    from charloom.data.text_format import TextFormat

    corpus = charloom.Corpus("né" * 200, text_format=TextFormat(unit="byte"))
    assert len(corpus) == 600 and corpus.text == "né" * 200
    assert corpus.head(3) == "né" and corpus.head(5) == "nén"
    assert corpus.split(0.1).training == ("né" * 200)[: 2 * 180]


def test_a_session_with_a_byte_model(model):
    from charloom.inference.generation import make_request
    from charloom.inference.session import Session

    request, _ = make_request("né 長い ", 40, 1.0, 1, {"repetition_penalty": 1.2, "repetition_window": 4})
    session = Session(model.engine("int8"), model.vocabulary, request)
    continuation = "".join(session.continue_text())
    assert (
        session.text
        == "né 長い " + continuation
        == model.generate("né 長い ", 40, 1.0, 1, repetition_penalty=1.2, repetition_window=4)
    )
    assert session.undo() == continuation


def test_interactive_mode_saves_invalid_utf8(model, tmp_path):
    save_model(tmp_path / "bytes.safetensors", model.saved)
    command = [sys.executable, "-m", "charloom", "generate", "bytes.safetensors", "-i", "-n", "40", "--seed", "3"]
    done = subprocess.run(command, input=b"a\n/save t.bin\n/quit\n", capture_output=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    data = (tmp_path / "t.bin").read_bytes()
    assert len(data) >= 41 and data.startswith(b"a")
    with pytest.raises(UnicodeDecodeError):  # an untrained byte model generates invalid UTF-8
        data.decode("utf-8")
