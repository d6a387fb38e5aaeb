"""Malicious and damaged Keras files: each is rejected with an error and has no side effects."""

import io
import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from charloom.errors import ModelFileError
from charloom.interop.keras import reader as keras_file
from charloom.interop.keras.exporter import write_keras
from charloom.interop.keras.hdf5_worker import MAX_BYTES
from charloom.interop.keras.importer import import_keras
from support.errors import raises_code
from support.models import tiny_saved
from support.paths import DATA

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the tests use links, pipes and memory limits of POSIX")


@pytest.fixture
def good(tmp_path):
    return write_keras(tmp_path / "good.keras", tiny_saved())[0]


def members_of(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive_of(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def with_weights(good, change):
    """Write a model whose weights are modified by ``change``, a function of the open HDF5 file."""
    members = members_of(good)
    data = io.BytesIO(members["model.weights.h5"])
    with h5py.File(data, "r+") as file:
        change(file)
    return archive_of(good.with_name("bad.keras"), members | {"model.weights.h5": data.getvalue()})


def with_config(good, change):
    """Write a model whose configuration is modified by ``change``."""
    members = members_of(good)
    config = json.loads(members["config.json"])
    change(config)
    return archive_of(good.with_name("bad.keras"), members | {"config.json": json.dumps(config)})


def rejection(path):
    """Import a file that must be rejected, and return the error."""
    began = time.monotonic()
    with pytest.raises(ModelFileError) as caught:
        import_keras(path)
    assert time.monotonic() - began < 20  # a separate process is started
    message = str(caught.value)
    assert str(path) in message and message.isprintable() and len(message) < 900
    return caught.value


class TestHdf5:
    def test_external_links_are_not_followed(self, good, tmp_path):
        with h5py.File(tmp_path / "secret.h5", "w") as file:
            file["numbers"] = np.ones((6, 4), np.float32)

        def change(file):
            del file["layers/embedding/vars/0"]
            file["layers/embedding/vars/0"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "numbers")

        assert rejection(with_weights(good, change)).code == "keras_weights_mismatch"

    def test_external_storage_is_not_read(self, good, tmp_path):
        (tmp_path / "secret.bin").write_bytes(b"secret" * 100)

        def change(file):
            del file["layers/embedding/vars/0"]
            outside = [(str(tmp_path / "secret.bin"), 0, 7 * 4 * 4)]
            file["layers/embedding/vars"].create_dataset("0", (7, 4), np.float32, external=outside)

        assert rejection(with_weights(good, change)).code == "unsupported_hdf5_storage"

    def test_virtual_datasets_are_not_read(self, good, tmp_path):
        with h5py.File(tmp_path / "secret.h5", "w") as file:
            file["numbers"] = np.ones((7, 4), np.float32)

        def change(file):
            layout = h5py.VirtualLayout((7, 4), np.float32)
            layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "numbers", (7, 4))
            del file["layers/embedding/vars/0"]
            file.create_virtual_dataset("layers/embedding/vars/0", layout)

        assert rejection(with_weights(good, change)).code == "unsupported_hdf5_storage"

    def test_terabytes_of_zeros_are_not_allocated(self, good):
        def change(file):
            del file["layers/embedding/vars/0"]
            file["layers/embedding/vars"].create_dataset(
                "0", (1 << 20, 1 << 20), np.float32, chunks=(1024, 1024), compression="gzip"
            )

        error = rejection(with_weights(good, change))
        assert error.code == "keras_file_too_large" and error.data["maximum"] == MAX_BYTES

    def test_bfloat16_arrays_are_read_exactly(self, good):
        numbers = np.array([1.0, -2.5, 3e38, 1e-39, 0.0, -0.0, 257.0], np.float32)
        upper = (numbers.view("<u4") >> 16).astype("<u2")

        def change(file):
            del file["layers/dense/vars/1"]
            file["layers/dense/vars/1"] = upper.view("V2")

        bias = import_keras(with_weights(good, change)).saved.weights["output.bias"]
        assert bias.tobytes() == (upper.astype("<u4") << 16).tobytes()

    @pytest.mark.parametrize(
        ("scale", "code"),
        [(np.full(5, 2.0), "quantized_keras_model"), (np.zeros(7), "quantized_keras_model"), (np.full(7, 2.0), None)],
    )
    def test_int8_weights_need_a_scale_per_channel(self, scale, code, good):
        def change(file):
            del file["layers/dense/vars/0"]
            file["layers/dense/vars/0"] = np.full((5, 7), -3, np.int8)
            file["layers/dense/vars/2"] = scale.astype(np.float32)

        if code is not None:
            assert rejection(with_weights(good, change)).code == code
            return
        imported = import_keras(with_weights(good, change))
        assert (imported.saved.weights["output.weight"] == -1.5).all()
        assert [notice.code for notice in imported.notices] == ["weights_dequantized"]

    @pytest.mark.parametrize("mode", ["int4/128", "float8", "gptq"])
    def test_other_quantizations_are_named(self, mode, good):
        def change(config):
            policy = {"class_name": "QuantizedDTypePolicy", "config": {"mode": mode}}
            config["config"]["layers"][1]["config"]["dtype"] = policy

        error = rejection(with_config(good, change))
        assert (error.code, error.data["mode"]) == ("quantized_keras_model", mode)

    @pytest.mark.parametrize("dtype", ["int16", "V1", "S10", "complex64"])
    def test_array_of_unsupported_type_is_named(self, dtype, good):
        def change(file):
            del file["layers/dense/vars/1"]
            file["layers/dense/vars/1"] = np.zeros(7, dtype)

        error = rejection(with_weights(good, change))
        assert error.code == "invalid_keras_array" and error.data["array"] == "layers/dense/vars/1"

    def test_cyclic_groups_are_supported(self, good):
        def change(file):
            file["layers/again"] = file["layers"]
            file["layers/round"] = h5py.SoftLink("/layers")

        assert import_keras(with_weights(good, change)).saved.architecture.cell == "gru"

    def test_keras2_file_with_missing_weights_is_rejected(self, tmp_path):
        with h5py.File(tmp_path / "bad.h5", "w") as file:
            file.attrs["layer_names"] = ["gru"]
            file.create_group("gru").attrs["weight_names"] = ["gru/kernel"]
        error = rejection(tmp_path / "bad.h5")
        assert error.code == "damaged_keras_file" and error.data["layer"] == "gru"


class TestArchive:
    def test_lambda_layer_is_rejected_by_name(self, good):
        evil = {"class_name": "__lambda__", "config": {"code": "4wAAAA==", "defaults": None, "closure": None}}

        def change(config):
            layer = {"class_name": "Lambda", "config": {"name": "evil", "function": evil}}
            config["config"]["layers"].insert(2, {**layer, "module": "keras.layers", "registered_name": None})

        error = rejection(with_config(good, change))
        assert error.code == "unsupported_layer" and error.data == {"layer": "evil", "kind": "Lambda"}

    @pytest.mark.parametrize("named", [{"module": "os", "class_name": "system"}, {"registered_name": "os>system"}])
    def test_class_of_another_module_is_rejected_by_name(self, named, good):
        def change(config):
            config["config"]["layers"][2] |= named

        error = rejection(with_config(good, change))
        assert error.code == "unsupported_layer" and error.data["layer"] == "gru"

    @pytest.mark.parametrize(
        "config",
        [b"[]", b"{", b"\xff", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"[" * 5000, b'{"a": ' * 50 + b"1" + b"}" * 50],
    )
    def test_invalid_json_configuration_is_rejected(self, config, good):
        rejection(archive_of(good.with_name("bad.keras"), members_of(good) | {"config.json": config}))

    @pytest.mark.parametrize(
        "config",
        [
            {"class_name": "Sequential", "config": {"layers": [7]}},
            {"class_name": "Sequential", "config": {"layers": [{"class_name": 7, "config": {}}]}},
            {"class_name": "Sequential", "config": {"layers": []}},
            {"class_name": "Sequential", "config": []},
            {"class_name": "Functional", "config": {"layers": []}},
            {"class_name": "Functional", "config": {"layers": [{"class_name": "GRU", "config": {"name": ["x"]}}]}},
        ],
    )
    def test_configuration_without_a_model_is_rejected(self, config, good):
        rejection(archive_of(good.with_name("bad.keras"), members_of(good) | {"config.json": json.dumps(config)}))

    def test_cyclic_graph_is_rejected(self, good):
        def layer(name, source):
            return {"class_name": "GRU", "config": {"name": name}, "inbound_nodes": [[[source, 0, 0, {}]]]}

        inputs = {"class_name": "InputLayer", "config": {"name": "i"}, "inbound_nodes": []}
        config = {"class_name": "Functional", "config": {"layers": [inputs, layer("a", "b"), layer("b", "a")]}}
        rejection(archive_of(good.with_name("bad.keras"), members_of(good) | {"config.json": json.dumps(config)}))

    def test_oversized_compressed_member_is_not_unpacked(self, good):
        path = archive_of(
            good.with_name("bad.keras"), members_of(good) | {"config.json": b" " * (64 << 20)}, zipfile.ZIP_DEFLATED
        )
        assert rejection(path).code == "keras_file_too_large"

    def test_unknown_archive_members_are_ignored(self, good):
        path = archive_of(good.with_name("more.keras"), members_of(good) | {"../../evil.py": b"raise SystemExit"})
        assert import_keras(path).saved.architecture.cell == "gru"
        assert not Path("../../evil.py").exists()

    @pytest.mark.parametrize("size", [0, 1, 100, -1, -100])
    def test_truncated_file_is_rejected(self, size, good):
        data = good.read_bytes()
        good.with_name("bad.keras").write_bytes(data[:size])
        rejection(good.with_name("bad.keras"))

    def test_pipes_and_saved_model_folders_are_rejected(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        with raises_code("not_a_regular_file", ModelFileError):
            import_keras(tmp_path / "pipe")
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "saved_model.pb").touch()
        with raises_code("unsupported_saved_model", ModelFileError):
            import_keras(tmp_path / "model")


def test_crash_of_the_worker_is_reported(good, monkeypatch):
    """Damaged files have crashed the HDF5 library; only the worker process dies."""
    monkeypatch.setattr(keras_file, "sys", type(sys)("sys"))
    keras_file.sys.path, keras_file.sys.executable = [], "/bin/false"
    assert rejection(good).code == "damaged_keras_file"


def test_timeout_of_the_worker_is_reported(good, monkeypatch):
    monkeypatch.setattr(keras_file, "_MAX_SECONDS", 0.01)
    error = rejection(good)
    assert error.code == "damaged_keras_file" and error.data["seconds"] == 0.01


def test_worker_imports_nothing_from_the_current_folder(good, tmp_path, monkeypatch):
    """The worker ignores the current folder, but searches the paths that this process has added to sys.path."""
    here, added = tmp_path / "here", tmp_path / "added"
    for folder in (here, added):
        folder.mkdir()
    (here / "zipfile.py").write_text("raise SystemExit('imported from the current folder')")
    (added / "h5py.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(here)
    import_keras(good)
    monkeypatch.syspath_prepend(added)
    assert rejection(good).code == "damaged_keras_file"


@pytest.mark.parametrize("count", [150, pytest.param(3000, marks=pytest.mark.slow)])
def test_randomly_damaged_files_are_rejected_or_read(count, good, tmp_path):
    """Random bytes are changed, removed and doubled. Each file gives an error or a model, and executes nothing."""
    script = """
import json, os, random, sys
from pathlib import Path
from charloom.interop.keras.hdf5_worker import ERROR, WEIGHTS, extract
events = []
kinds, count, folder = [Path(p).read_bytes() for p in sys.argv[3:]], int(sys.argv[1]), Path(sys.argv[2])
(folder / "bad").write_bytes(kinds[1][:1000])
for path in (*sys.argv[3:], str(folder / "bad")):
    extract(path, str(folder))  # import all modules before the audit hook is installed
sys.addaudithook(lambda event, _: events.append(event) if event in ("exec", "compile", "os.system") else None)
draw, counts = random.Random(5), {"read": 0, "rejected": 0}
for number in range(count):
    data = bytearray(draw.choice(kinds))
    for _ in range(draw.randint(1, 8)):
        at, size = draw.randrange(len(data)), draw.choice((1, 1, 2, 8, 100))
        other = (b"", bytes(size), b"\\xff" * size, draw.randbytes(size), data[at : at + 2 * size])
        data[at : at + size] = draw.choice(other)
    (folder / "bad").write_bytes(data)
    for name in (ERROR, WEIGHTS):
        (folder / name).unlink(missing_ok=True)
    print(number, flush=True)
    extract(str(folder / "bad"), str(folder))
    counts["read" if (folder / WEIGHTS).exists() else "rejected"] += 1
assert not events, events
print(json.dumps(counts))
"""
    h5 = tmp_path / "good.weights.h5"
    h5.write_bytes(members_of(good)["model.weights.h5"])
    old = DATA / "keras2" / "two_lstm.h5"
    arguments = [str(count), str(tmp_path), str(good), str(h5), str(old)]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    if done.returncode < 0:  # a crash of the HDF5 library, which is why the worker is a separate process
        pytest.skip(f"libhdf5 crashed with signal {-done.returncode} after {done.stdout.split()[-1]} files")
    assert done.returncode == 0, done.stderr[-3000:]
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts["read"] + counts["rejected"] == count and counts["rejected"] > count / 5


def test_worker_writes_only_the_weights(good, tmp_path):
    folder = tmp_path / "output"
    folder.mkdir()
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    command = [sys.executable, "-m", "charloom.interop.keras.hdf5_worker", str(good), str(folder)]
    subprocess.run(command, check=True, cwd=tmp_path)
    assert [path.name for path in folder.iterdir()] == ["weights.safetensors"]
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
