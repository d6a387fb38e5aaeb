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
from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import ModelFileError, SettingsError
from charloom.model.architecture import Architecture
from charloom.model.file import safetensors_header
from charloom.model.file.model_file import SavedModel, _check_memory, load_model, save_model
from charloom.model.file.schema import read_model_header, signed
from charloom.model.quantization import quantize
from support.models import tiny_saved


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


@pytest.mark.parametrize("lines", [False, True])
def test_whether_lines_are_texts_is_kept(tmp_path, lines):
    save_model(tmp_path / "m", replace(tiny_saved(), lines=lines))
    assert load_model(tmp_path / "m").lines is lines


def test_a_model_larger_than_the_memory_is_told_by_how_much(tmp_path, monkeypatch):
    save_model(tmp_path / "m", tiny_saved())
    size = 4 * tiny_saved().architecture.num_parameters
    pages = {"SC_PAGE_SIZE": 3, "SC_PHYS_PAGES": 10**9}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)
    load_model(tmp_path / "m")
    pages["SC_PHYS_PAGES"] = size // 3 - 1
    with pytest.raises(ModelFileError, match=r"it takes 0\.0 GB of memory, and this machine has 0\.0\.$"):
        load_model(tmp_path / "m")
    save_model(tmp_path / "half", replace(tiny_saved(), stored_as="float16"))  # it is float32 that is held
    with pytest.raises(ModelFileError, match="of memory"):
        load_model(tmp_path / "half")
    large = Architecture(65, hidden_size=16_384, embedding_size=1)  # 3 x 16,384^2 weights and some: 3.2 GB
    data = (tmp_path / "m").read_bytes()
    header = replace(read_model_header(BytesIO(data), len(data)), architecture=large)
    pages["SC_PHYS_PAGES"] = 5 * 10**8
    with pytest.raises(ModelFileError, match=r"it takes 3\.2 GB of memory, and this machine has 1\.5\.$"):
        _check_memory(header)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no such pipes here")
def test_nobody_waits_for_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "m")
    with pytest.raises(ModelFileError, match="no regular file"):
        load_model(tmp_path / "m")


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
        assert loaded.weights[name].dtype == np.float32
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
    return safetensors_numpy.save(tensors, {"charloom": signed(header)})


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
    path = tmp_path / "none.safetensors"
    with pytest.raises(ModelFileError) as told:
        load_model(path)
    assert str(told.value) == f"The model file {path} cannot be read: No such file or directory."
    with pytest.raises(ModelFileError, match=r"cannot be read: its name is none \(.*null"):
        load_model(tmp_path / "a\0b")


def test_a_reason_that_quotes_a_file_is_short_and_safe_to_print():
    assert printable("naïve \x1b[2J\n") == "naïve \\x1b[2J\\n"
    assert printable("é" * 300) == "é" * 300
    assert printable("é" * 301) == "é" * 300 + "…"


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
    """The tensors in the order in which they lie: wider numbers first, then by name."""
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
        # one column: a row's only weight is 127 or -127 times its scale, rounded up to 16 significant bits
        scales = [math.ldexp(math.ceil(math.ldexp(abs(w) / 127, k)), -k) for w in values for k in [16 - exponent(w)]]
        floats.append((f"{name}.scale", "F32", shapes[name][:1], struct.pack(f"<{len(values)}f", *scales)))
        whole = [round(w / scale) if scale else 0 for w, scale in zip(values, scales, strict=True)]
        bytes_.append((name, "I8", shapes[name], struct.pack(f"<{len(values)}b", *whole)))
    return sorted(floats) + bytes_


def exponent(weight):
    return math.frexp(abs(weight) / 127)[1]


def golden_bytes(stored_as):
    """The whole file as docs/reference/format.md says it, made of nothing but struct, json and hashlib."""
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
def test_the_bytes_are_those_of_the_format(tmp_path, stored_as):
    weights = {name: np.array(value, np.float32) for name, value in GOLDEN_WEIGHTS.items()}
    saved = SavedModel(Architecture(2, "gru", 1, 1), Vocabulary("a🧵"), weights, {"corpus": "naïve"}, stored_as)
    save_model(tmp_path / "m", saved)
    assert (tmp_path / "m").read_bytes() == golden_bytes(stored_as)
    (tmp_path / "by hand").write_bytes(golden_bytes(stored_as))
    loaded = load_model(tmp_path / "by hand")
    assert (loaded.vocabulary.characters, loaded.facts) == ("a🧵", {"corpus": "naïve"})
    for name, value in weights.items():
        # one weight a row: its scale is rounded up to 16 bits, and the weight with it
        np.testing.assert_allclose(loaded.weights[name], value, rtol=2**-15 if stored_as == "int8" else 0)


def test_nothing_is_written_that_would_be_refused(tmp_path):
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


def test_facts_that_are_not_known_are_kept(tmp_path):
    facts = {"mine": {"of": ["any", 1, None, True, 0.5]}, "val_loss": None, "epoch": 3}
    save_model(tmp_path / "m", replace(tiny_saved(), facts=facts))
    assert load_model(tmp_path / "m").facts == facts


def test_a_training_of_the_most_layers_and_the_largest_alphabet_can_be_saved():
    """The limits hold for whatever settings allow: 64 layers, Muon, an alphabet of 65,536 characters beyond U+FFFF."""
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
    assert round(len(text) / 1e6, 1) == 1.2  # as docs/reference/format.md says
    assert len(text) < 0.75 * safetensors_header.MAX_HEADER
    assert strict_json(text) == header


def test_the_content_digest_is_of_vocabulary_weights_and_context():
    model = tiny_saved()
    hashed = model.vocabulary.characters.encode() + b"".join(
        model.weights[name].tobytes() for name in sorted(model.weights)
    )
    assert model.content_digest() == hashlib.sha256(hashed).hexdigest()
    assert model.content_digest(b"context") == hashlib.sha256(b"context" + hashed).hexdigest()
    changed = {name: weight + (name == "output.bias") for name, weight in model.weights.items()}
    assert replace(model, weights=changed).content_digest() != model.content_digest()
    assert replace(model, facts={"corpus": "another"}, stored_as="int8").content_digest() == model.content_digest()
