import hashlib
import json
import math
import os
import struct
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from charloom._util import atomic_io as files
from charloom._util.printable import printable
from charloom._util.strict_json import strict_json
from charloom.data.text_format import TextRules
from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import InputError, ModelFileError, SettingsError
from charloom.inference.model import Model
from charloom.model.architecture import Architecture
from charloom.model.file import safetensors_header
from charloom.model.file.model_file import SavedModel, _check_memory, load_model, save_model
from charloom.model.file.schema import read_model_header, signed
from charloom.model.quantization import quantize
from support.errors import raises_code
from support.models import tiny_saved


@pytest.fixture(params=["gru", "lstm"])
def saved(request):
    return tiny_saved(request.param, corpus="weaving", step=3)


def test_load_returns_what_save_wrote(saved, tmp_path):
    save_model(tmp_path / "m.safetensors", saved)
    loaded = load_model(tmp_path / "m.safetensors")
    assert (loaded.architecture, loaded.vocabulary, loaded.facts) == (
        saved.architecture,
        saved.vocabulary,
        saved.facts,
    )
    for name, value in saved.weights.items():
        np.testing.assert_array_equal(loaded.weights[name], value)


@pytest.mark.parametrize("lines", [False, True])
def test_lines_flag_is_saved(tmp_path, lines):
    save_model(tmp_path / "m", replace(tiny_saved(), rules=TextRules(lines=lines)))
    assert load_model(tmp_path / "m").rules.lines is lines


def test_model_larger_than_memory_is_rejected_with_both_sizes(tmp_path, monkeypatch):
    save_model(tmp_path / "m", tiny_saved())
    size = 4 * tiny_saved().architecture.num_parameters
    pages = {"SC_PAGE_SIZE": 3, "SC_PHYS_PAGES": 10**9}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)
    load_model(tmp_path / "m")
    pages["SC_PHYS_PAGES"] = size // 3 - 1
    available = 3 * (size // 3 - 1)
    with raises_code("model_too_large", ModelFileError, required_bytes=size, available_bytes=available):
        load_model(tmp_path / "m")
    save_model(tmp_path / "half", replace(tiny_saved(), stored_as="float16"))  # in memory, weights are float32
    with raises_code("model_too_large", ModelFileError, required_bytes=size):
        load_model(tmp_path / "half")
    large = Architecture(65, hidden_size=16_384, embedding_size=1)  # 3 x 16,384^2 recurrent weights and others: 3.2 GB
    data = (tmp_path / "m").read_bytes()
    header = replace(read_model_header(BytesIO(data), len(data)), architecture=large)
    pages["SC_PHYS_PAGES"] = 5 * 10**8
    required = 4 * large.num_parameters
    data = {"required_bytes": required, "available_bytes": 15 * 10**8}
    with raises_code("model_too_large", ModelFileError, **data) as caught:
        _check_memory(header)
    assert required / 1e9 == pytest.approx(3.2, abs=0.05)
    assert "3.2 GB" in str(caught.value) and "1.5 GB" in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_named_pipe_is_rejected_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "m")
    with raises_code("not_a_regular_file", ModelFileError, path=str(tmp_path / "m")):
        load_model(tmp_path / "m")


def test_equal_models_have_equal_files(saved, tmp_path):
    for name in ("a", "b"):
        save_model(tmp_path / name, saved)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_float16_file_keeps_three_digits(saved, tmp_path):
    half = SavedModel(saved.architecture, saved.vocabulary, saved.weights, saved.facts, "float16")
    save_model(tmp_path / "m", half)
    loaded = load_model(tmp_path / "m")
    assert loaded.stored_as == "float16"
    for name, value in saved.weights.items():
        assert loaded.weights[name].dtype == np.float32
        np.testing.assert_allclose(loaded.weights[name], value, rtol=2**-11, atol=2**-25)


def test_int8_file_keeps_the_quantized_values(saved, tmp_path):
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
def test_any_flipped_bit_is_detected(saved, tmp_path, seed, stored_as):
    path = tmp_path / "m"
    save_model(path, replace(saved, stored_as=stored_as))
    data = bytearray(path.read_bytes())
    place = int(np.random.default_rng(seed).integers(8 * len(data)))
    data[place // 8] ^= 1 << place % 8
    path.write_bytes(data)
    with pytest.raises(ModelFileError):
        load_model(path)


def test_truncated_files_are_rejected(saved, tmp_path):
    path = tmp_path / "m"
    save_model(path, saved)
    data = path.read_bytes()
    for end in range(0, len(data), 61):
        path.write_bytes(data[:end])
        with pytest.raises(ModelFileError):
            load_model(path)


def rewritten(path, change):
    """Return the bytes of a model file with a changed description and recomputed checksums."""
    tensors = safetensors_numpy.load(path.read_bytes())
    length = int.from_bytes(path.read_bytes()[:8], "little")
    description = json.loads(path.read_bytes()[8 : 8 + length])["__metadata__"]["charloom"]
    header = json.loads(description.partition(" ")[2])
    change(header, tensors)
    return safetensors_numpy.save(tensors, {"charloom": signed(header)})


@pytest.mark.parametrize(("change", "code", "data"), [
    (lambda h, t: h.update(format_version=99), "unsupported_format_version", {"version": 99, "supported": [1]}),
    (lambda h, t: h["architecture"].update(hidden_size=6), "tensor_mismatch", {"expected_dtype": "float32"}),
    (lambda h, t: h["architecture"].update(hidden_size=10**9), "invalid_setting", {"name": "hidden_size"}),
    (lambda h, t: h["architecture"].update(cell="rnn"), "invalid_setting", {"name": "cell", "value": "rnn"}),
    (lambda h, t: h["architecture"].update(color="red"), "unexpected_keys", {"keys": ["color"]}),
    (lambda h, t: h.update(vocabulary="\n abcdd"), "duplicate_character", {"character": "d"}),
    (lambda h, t: h.update(vocabulary="\n abc"), "vocabulary_size_mismatch", {"characters": 5, "vocabulary_size": 7}),
    (lambda h, t: h.update(vocabulary=7), "invalid_vocabulary", {"type": "int"}),
    (lambda h, t: h.update(vocabulary=list("\n abcde")), "invalid_vocabulary", {"type": "list"}),
    (lambda h, t: h.pop("vocabulary"), "unexpected_keys", {"keys": ["vocabulary"]}),
    (lambda h, t: h.update(weights="int3"), "invalid_header_entry", {"name": "weights"}),
    (lambda h, t: t.pop("output.bias"), "unexpected_tensors", {"tensors": ["output.bias"]}),
    (lambda h, t: t.update(extra=np.zeros(1, np.float32)), "unexpected_tensors", {"tensors": ["extra"]}),
    (lambda h, t: t["output.bias"].__setitem__(0, np.nan), "non_finite_tensor", {"tensor": "output.bias"}),
    (lambda h, t: t["output.bias"].__setitem__(0, 7), "checksum_mismatch", {"part": "output.bias"}),
])  # fmt: skip
def test_inconsistent_files_are_rejected(tmp_path, change, code, data):
    path = tmp_path / "m"
    save_model(path, tiny_saved())
    path.write_bytes(rewritten(path, change))
    with raises_code(code, ModelFileError, path=str(path), **data) as caught:
        load_model(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"\x80\x04pickle", b"\xff" * 64, (2).to_bytes(8, "little") + b"{}"])
def test_files_of_other_formats_are_rejected(tmp_path, data):
    (tmp_path / "m").write_bytes(data)
    with pytest.raises(ModelFileError):
        load_model(tmp_path / "m")


def test_missing_file_and_invalid_path_are_reported(tmp_path):
    path = tmp_path / "none.safetensors"
    reason = "No such file or directory"
    with raises_code("unreadable_file", ModelFileError, path=str(path), reason=reason) as caught:
        load_model(path)
    assert str(path) in str(caught.value) and reason in str(caught.value)
    with raises_code("invalid_path", ModelFileError, path=str(tmp_path / "a\0b")):
        load_model(tmp_path / "a\0b")


def test_printable_shortens_and_escapes_messages():
    assert printable("naïve \x1b[2J\n") == "naïve \\x1b[2J\\n"
    assert printable("é" * 300) == "é" * 300
    assert printable("é" * 301) == "é" * 300 + "…"


def test_non_finite_weights_are_never_written(tmp_path):
    saved = tiny_saved()
    saved.weights["output.bias"][1] = np.inf
    with raises_code("non_finite_tensor", ModelFileError, tensor="output.bias", stored_as="float32"):
        save_model(tmp_path / "m", saved)
    saved.weights["output.bias"][1] = 1e6  # fits float32, but not float16
    with raises_code("non_finite_tensor", ModelFileError, tensor="output.bias", stored_as="float16"):
        save_model(tmp_path / "m", SavedModel(saved.architecture, saved.vocabulary, saved.weights, {}, "float16"))
    assert not (tmp_path / "m").exists()


def test_unknown_stored_as_is_rejected(tmp_path):
    saved = tiny_saved()
    accepted = ["float32", "float16", "int8"]
    with raises_code("invalid_setting", SettingsError, name="stored_as", value="float8", accepted=accepted):
        save_model(tmp_path / "m", SavedModel(saved.architecture, saved.vocabulary, saved.weights, {}, "float8"))


@pytest.mark.parametrize("suffix", [".onnx", ".html", ".keras", ".h5", ".pt", ".JSON"])
def test_model_is_not_saved_under_the_name_of_another_format(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    with raises_code("other_format", InputError, path=str(path), suffix=suffix):
        Model(tiny_saved()).save(path)
    assert not path.exists()


def test_folder_that_does_not_exist_is_reported_when_a_model_is_saved(tmp_path):
    with raises_code("folder_not_found", InputError, path=str(tmp_path / "no")):
        Model(tiny_saved()).save(tmp_path / "no" / "x")


def test_saved_model_rejects_a_vocabulary_of_another_size():
    saved = tiny_saved()
    with raises_code("vocabulary_size_mismatch", ModelFileError, characters=2, vocabulary_size=7):
        SavedModel(saved.architecture, Vocabulary("ab"), saved.weights)


def test_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path, monkeypatch):
    path = tmp_path / "m"
    files.write_atomically(path, b"old")
    monkeypatch.setattr(files.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["m"]


GOLDEN_WEIGHTS = {  # V = 2, E = 1, H = 1; each number is exact in float16
    "embedding.weight": [[0.5], [-1.0]],
    "layers.0.bias_hh": [0.0, 0.25, -0.5],
    "layers.0.bias_ih": [1.0, 2.0, 3.0],
    "layers.0.weight_hh": [[-2.0], [0.125], [4.0]],
    "layers.0.weight_ih": [[1.5], [0.0], [-0.75]],
    "output.bias": [0.0, -3.0],
    "output.weight": [[127.0], [-63.5]],
}


def golden_tensors(stored_as):
    """Return the tensors in file order: wider numbers first, then by name."""
    flat = {name: np.ravel(value).tolist() for name, value in GOLDEN_WEIGHTS.items()}
    shapes = {name: list(np.shape(value)) for name, value in GOLDEN_WEIGHTS.items()}
    if stored_as != "int8":
        kind, letter = {"float32": ("F32", "f"), "float16": ("F16", "e")}[stored_as]
        return [(name, kind, shapes[name], struct.pack(f"<{len(flat[name])}{letter}", *flat[name])) for name in flat]
    floats, bytes_ = [], []
    for name, values in flat.items():
        if len(shapes[name]) == 1:
            floats.append((name, "F32", shapes[name], struct.pack(f"<{len(values)}f", *values)))
            continue
        # one column: each row's weight is ±127 times the row's scale, which is rounded up to 16 significant bits
        scales = [math.ldexp(math.ceil(math.ldexp(abs(w) / 127, k)), -k) for w in values for k in [16 - exponent(w)]]
        floats.append((f"{name}.scale", "F32", shapes[name][:1], struct.pack(f"<{len(values)}f", *scales)))
        whole = [round(w / scale) if scale else 0 for w, scale in zip(values, scales, strict=True)]
        bytes_.append((name, "I8", shapes[name], struct.pack(f"<{len(values)}b", *whole)))
    return sorted(floats) + bytes_


def exponent(weight):
    return math.frexp(abs(weight) / 127)[1]


def golden_bytes(stored_as):
    """Return the file as docs/reference/format.md specifies it, built with struct, json and hashlib only."""
    header, payload, sums = {}, b"", {}
    for name, kind, shape, data in golden_tensors(stored_as):
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(payload), len(payload) + len(data)]}
        sums[name] = hashlib.sha256(data).hexdigest()
        payload += data
    sizes = {"cell": "gru", "embedding_size": 1, "hidden_size": 1, "num_layers": 1, "reset_after": True}
    text = json.dumps(
        {
            "architecture": {**sizes, "vocabulary_size": 2},
            "facts": {"corpus": "naïve"},
            "format_version": 1,
            "tensor_sha256": sums,
            "vocabulary": "a🧵",
            "weights": stored_as,
        },
        sort_keys=True,
    )
    assert '"vocabulary": "a\\ud83e\\uddf5"' in text
    described = f"{hashlib.sha256(text.encode('ascii')).hexdigest()} {text}"
    data = json.dumps({"__metadata__": {"charloom": described}, **header}, separators=(",", ":")).encode("ascii")
    data += b" " * (-len(data) % 8)
    return struct.pack("<Q", len(data)) + data + payload


@pytest.mark.parametrize("stored_as", ["float32", "float16", "int8"])
def test_file_bytes_follow_the_format_specification(tmp_path, stored_as):
    weights = {name: np.array(value, np.float32) for name, value in GOLDEN_WEIGHTS.items()}
    saved = SavedModel(Architecture(2, "gru", 1, 1), Vocabulary("a🧵"), weights, {"corpus": "naïve"}, stored_as)
    save_model(tmp_path / "m", saved)
    assert (tmp_path / "m").read_bytes() == golden_bytes(stored_as)
    (tmp_path / "by hand").write_bytes(golden_bytes(stored_as))
    loaded = load_model(tmp_path / "by hand")
    assert (loaded.vocabulary.characters, loaded.facts) == ("a🧵", {"corpus": "naïve"})
    for name, value in weights.items():
        # each row has one weight, which changes when the scale of the row is rounded up to 16 bits
        np.testing.assert_allclose(loaded.weights[name], value, rtol=2**-15 if stored_as == "int8" else 0)


def test_save_rejects_what_load_would_reject(tmp_path):
    for wrong in (
        {"corpus": "\x1b[2J"},
        {"step": "12"},
        {"val_loss": True},
        {"settings": [1]},
        {"anything": [[[[[[[[[[[[0]]]]]]]]]]]]},
        {"anything": "x" * (2 << 20)},
    ):
        with pytest.raises(ModelFileError):
            save_model(tmp_path / "m", replace(tiny_saved(), facts=wrong))
    assert not [*tmp_path.iterdir()]


def test_unknown_facts_are_kept(tmp_path):
    facts = {"mine": {"of": ["any", 1, None, True, 0.5]}, "val_loss": None, "epoch": 3}
    save_model(tmp_path / "m", replace(tiny_saved(), facts=facts))
    assert load_model(tmp_path / "m").facts == facts


def test_header_limits_allow_the_largest_checkpoint():
    """The largest header that settings allow: 64 layers, Muon, a vocabulary of 65,536 characters above U+FFFF."""
    shapes = Architecture(1, num_layers=64).parameter_shapes()
    tensors = {f"training.optimizer.exp_avg_sq.{name}": 1 for name in shapes}
    names = [*shapes, *(f"{name}.scale" for name, shape in shapes.items() if len(shape) == 2)]
    names += [key.replace("exp_avg_sq", kind) for key in tensors for kind in ("exp_avg_sq", "exp_avg", "step")]
    names += [f"training.state.hidden.{i}" for i in range(64)]
    names += ["training.losses.last_epoch", "training.losses.since_evaluation"]
    assert len(names) <= safetensors_header.MAX_TENSORS
    entry = {"dtype": "F32", "shape": [65_536, 16_384], "data_offsets": [10**13, 10**13]}
    described = {
        "vocabulary": "".join(map(chr, range(0x10000, 0x20000))),
        "tensor_sha256": dict.fromkeys(names, "0" * 64),
    }
    header = {"__metadata__": {"charloom": json.dumps(described)}} | dict.fromkeys(names, entry)
    text = json.dumps(header, separators=(",", ":"))
    assert round(len(text) / 1e6, 1) == 1.2  # the value that docs/reference/format.md states
    assert len(text) < 0.75 * safetensors_header.MAX_HEADER
    assert strict_json(text) == header


def test_content_digest_covers_vocabulary_weights_and_context():
    model = tiny_saved()
    hashed = model.vocabulary.characters.encode() + b"".join(
        model.weights[name].tobytes() for name in sorted(model.weights)
    )
    assert model.content_digest() == hashlib.sha256(hashed).hexdigest()
    assert model.content_digest(b"context") == hashlib.sha256(b"context" + hashed).hexdigest()
    changed = {name: weight + (name == "output.bias") for name, weight in model.weights.items()}
    assert replace(model, weights=changed).content_digest() != model.content_digest()
    assert replace(model, facts={"corpus": "another"}, stored_as="int8").content_digest() == model.content_digest()
