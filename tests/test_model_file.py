import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from charloom.errors import ModelFileError, SettingsError
from charloom.model.model_file import SavedModel, load_model, save_model
from charloom.model.quantization import quantize
from charloom.text import files
from charloom.text.vocabulary import Vocabulary
from conftest import tiny_saved


@pytest.fixture(params=["gru", "lstm"])
def saved(request):
    return tiny_saved(request.param, corpus="weaving", step=3)


def test_what_was_saved_is_what_is_loaded(saved, tmp_path):
    save_model(tmp_path / "m.safetensors", saved)
    loaded = load_model(tmp_path / "m.safetensors")
    assert (loaded.architecture, loaded.vocabulary, loaded.facts) == (
        saved.architecture,
        saved.vocabulary,
        saved.facts,
    )
    for name, value in saved.weights.items():
        np.testing.assert_array_equal(loaded.weights[name], value)


def test_the_same_model_makes_the_same_bytes(saved, tmp_path):
    for name in ("a", "b"):
        save_model(tmp_path / name, saved)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_half_precision_keeps_three_digits(saved, tmp_path):
    half = SavedModel(saved.architecture, saved.vocabulary, saved.weights, saved.facts, "float16")
    save_model(tmp_path / "m", half)
    loaded = load_model(tmp_path / "m")
    assert loaded.stored_as == "float16"
    for name, value in saved.weights.items():
        np.testing.assert_allclose(loaded.weights[name], value, rtol=2**-11, atol=2**-25)


def test_int8_keeps_what_int8_engines_compute(saved, tmp_path):
    save_model(tmp_path / "m", replace(saved, stored_as="int8"))
    loaded = load_model(tmp_path / "m")
    assert loaded.stored_as == "int8"
    for name, value in saved.weights.items():
        restored = loaded.weights[name]
        if value.ndim == 1:
            np.testing.assert_array_equal(restored, value)
        else:
            np.testing.assert_array_equal(quantize(restored).values, quantize(value).values)
            np.testing.assert_array_equal(quantize(restored).scales, quantize(value).scales)
    save_model(tmp_path / "again", loaded)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "m").read_bytes()


@pytest.mark.parametrize("stored_as", ["float32", "int8"])
@pytest.mark.parametrize("seed", range(40))
def test_a_flipped_bit_is_noticed(saved, tmp_path, seed, stored_as):
    path = tmp_path / "m"
    save_model(path, replace(saved, stored_as=stored_as))
    data = bytearray(path.read_bytes())
    place = int(np.random.default_rng(seed).integers(8 * len(data)))
    data[place // 8] ^= 1 << place % 8
    path.write_bytes(data)
    with pytest.raises(ModelFileError):
        load_model(path)


def test_a_file_cut_short_anywhere_is_noticed(saved, tmp_path):
    path = tmp_path / "m"
    save_model(path, saved)
    data = path.read_bytes()
    for end in range(0, len(data), 61):
        path.write_bytes(data[:end])
        with pytest.raises(ModelFileError):
            load_model(path)


def rewritten(path, change):
    """Return the bytes of a model file whose description was changed and signed again."""
    tensors = safetensors_numpy.load(path.read_bytes())
    length = int.from_bytes(path.read_bytes()[:8], "little")
    description = json.loads(path.read_bytes()[8 : 8 + length])["__metadata__"]["charloom"]
    header = json.loads(description.partition(" ")[2])
    change(header, tensors)
    from charloom.model.model_file import _digest

    text = json.dumps(header, sort_keys=True)
    return safetensors_numpy.save(tensors, {"charloom": f"{_digest(text.encode())} {text}"})


@pytest.mark.parametrize(("change", "message"), [
    (lambda h, t: h.update(format_version=99), "format version 99"),
    (lambda h, t: h["architecture"].update(hidden_size=6), "must be float32"),
    (lambda h, t: h["architecture"].update(hidden_size=10**9), "hidden_size must be"),
    (lambda h, t: h["architecture"].update(cell="rnn"), "cell must be one of"),
    (lambda h, t: h["architecture"].update(colour="red"), "does not describe a model"),
    (lambda h, t: h.update(vocabulary="\n abcdd"), "twice"),
    (lambda h, t: h.update(vocabulary="\n abc"), "5 characters"),
    (lambda h, t: h.update(vocabulary=7), "vocabulary is text"),
    (lambda h, t: h.update(vocabulary=list("\n abcde")), "vocabulary is text"),
    (lambda h, t: h.pop("vocabulary"), "does not describe a model"),
    (lambda h, t: h.update(weights="int3"), "known way"),
    (lambda h, t: t.pop("output.bias"), "output.bias"),
    (lambda h, t: t.update(extra=np.zeros(1, np.float32)), "extra"),
    (lambda h, t: t["output.bias"].__setitem__(0, np.nan), "NaN or infinite"),
    (lambda h, t: t["output.bias"].__setitem__(0, 7), "do not match their checksum"),
])  # fmt: skip
def test_a_file_whose_parts_do_not_fit_is_refused_with_the_reason(tmp_path, change, message):
    path = tmp_path / "m"
    save_model(path, tiny_saved())
    path.write_bytes(rewritten(path, change))
    with pytest.raises(ModelFileError, match=message):
        load_model(path)


@pytest.mark.parametrize("data", [b"", b"\x80\x04pickle", b"\xff" * 64, (2).to_bytes(8, "little") + b"{}"])
def test_other_files_are_refused(tmp_path, data):
    (tmp_path / "m").write_bytes(data)
    with pytest.raises(ModelFileError):
        load_model(tmp_path / "m")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelFileError, match=r"none\.safetensors cannot be read"):
        load_model(tmp_path / "none.safetensors")


def test_weights_that_are_not_finite_are_never_written(tmp_path):
    saved = tiny_saved()
    saved.weights["output.bias"][1] = np.inf
    with pytest.raises(ModelFileError, match=r"output\.bias"):
        save_model(tmp_path / "m", saved)
    saved.weights["output.bias"][1] = 1e6  # fits float32, but not float16
    with pytest.raises(ModelFileError, match="as float16"):
        save_model(tmp_path / "m", SavedModel(saved.architecture, saved.vocabulary, saved.weights, {}, "float16"))
    assert not (tmp_path / "m").exists()


def test_an_unknown_way_to_store_is_refused(tmp_path):
    saved = tiny_saved()
    with pytest.raises(SettingsError, match="float32, float16"):
        save_model(tmp_path / "m", SavedModel(saved.architecture, saved.vocabulary, saved.weights, {}, "float8"))


def test_a_vocabulary_of_another_size_makes_no_model():
    saved = tiny_saved()
    with pytest.raises(ModelFileError, match="2 characters"):
        SavedModel(saved.architecture, Vocabulary("ab"), saved.weights)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "m"
    files.write_whole(path, b"old")
    monkeypatch.setattr(files.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        files.write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["m"]
