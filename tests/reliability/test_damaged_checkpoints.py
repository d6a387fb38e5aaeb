"""Every reader rejects a checkpoint with an invalid training section, even readers that need only the model."""

import json
import subprocess
import sys

import pytest

import charloom
from charloom.errors import ModelFileError
from charloom.model.file.model_file import load_model
from charloom.model.file.safetensors_header import DESCRIPTION
from charloom.model.file.schema import signed
from charloom.training.checkpoint import load_checkpoint, read_checkpoint
from support.paths import ROOT

CHECKPOINT = ROOT / "tests" / "golden" / "data" / "runs" / "gru" / "checkpoints" / "step-000020.safetensors"


def edited(change):
    """Return the bytes of the checkpoint with a changed header and a matching checksum."""
    data = CHECKPOINT.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    description = json.loads(header["__metadata__"][DESCRIPTION].partition(" ")[2])
    change(description, header)
    header["__metadata__"][DESCRIPTION] = signed(description)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def renamed(description, header, old, new):
    header[new] = header.pop(old)
    description["tensor_sha256"][new] = description["tensor_sha256"].pop(old)


DAMAGES = {
    "a fact is missing": lambda d, _h: d["training"].pop("finished"),
    "a number is out of range": lambda d, _h: d["training"].update(step=-1),
    "a position is negative": lambda d, _h: d["training"].update(position=[0, -1]),
    "a file is outside the run": lambda d, _h: d["training"]["files"].update({"../x.txt": 3}),
    "the history is a list": lambda d, _h: d["training"].update(history=[]),
    "provenance is missing": lambda d, _h: d["facts"].pop("settings"),
    "a state is unknown": lambda d, h: renamed(d, h, "training.state.hidden.0", "training.state.hidden.9"),
    "an optimizer state is missing": lambda d, h: renamed(
        d, h, "training.optimizer.exp_avg.output.bias", "training.optimizer.exp_avg.output.bias2"
    ),
}


def test_valid_checkpoint_is_accepted(tmp_path):
    path = tmp_path / "whole.safetensors"
    path.write_bytes(edited(lambda *_: None))
    assert load_checkpoint(path)[1] is not None
    assert charloom.load(path).saved.weights.keys() == load_model(path).weights.keys()


@pytest.mark.parametrize("change", DAMAGES.values(), ids=DAMAGES)
def test_all_readers_reject_a_damaged_checkpoint_equally(tmp_path, change):
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(edited(change))
    errors = []
    for read in (load_checkpoint, load_model, charloom.load, lambda p: read_checkpoint(p.read_bytes(), str(p))):
        with pytest.raises(ModelFileError) as caught:
            read(path)
        errors.append(caught.value.to_dict())
    assert errors[0]["code"] and errors == errors[:1] * 4


def test_loading_without_training_modules_is_equally_strict(tmp_path):
    """The process has not imported any training module before."""
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(edited(DAMAGES["a fact is missing"]))
    code = (
        "import sys; from charloom.model.file.model_file import load_model; from pathlib import Path\n"
        "assert not [m for m in sys.modules if m.startswith('charloom.training')]\n"
        "load_model(Path(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert done.returncode == 1 and "ModelFileError" in done.stderr
