"""Export a model as a ``.keras`` file for Keras 3.

Keras is not needed: the file is a zip archive with a configuration and HDF5 weights in Keras 3's layout. An additional
member ``charloom.json``, which Keras ignores, stores the vocabulary.
"""

import json
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom._util.atomic_io import write_atomically
from charloom._util.extras import require_extra
from charloom.interop.keras.conversion import swap_gates
from charloom.model.architecture import Architecture
from charloom.model.file.model_file import SavedModel

KERAS_VERSION = "3.6.0"
"""The version of Keras whose file layout is written; later versions read it too."""

_LEARNING_RATE = 0.001  # of the tutorial

# a constant date, the earliest that a zip archive supports, so that the same model always gives the same bytes
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)
_DATE = "1980-01-01@00:00:00"


def write_keras(path: Path, saved: SavedModel) -> list[Path]:
    """Write a model as a ``.keras`` file, compiled with Adam and the loss of the tutorial.

    Args:
        path: The output file. Keras requires the suffix ``.keras``.
        saved: The model. Its weights are written as float32.

    Returns:
        The files written.

    Raises:
        MissingExtraError: If h5py is not installed.
        OSError: If it cannot be written.
    """
    require_extra("Writing a Keras file", "keras", "h5py")
    description = {
        "vocabulary": saved.vocabulary.characters,
        "unit": saved.vocabulary.unit,
        "lines": saved.rules.lines,
        **{name: value for name, value in saved.rules.to_dict().items() if name != "lines"},
        "facts": dict(saved.facts),
    }
    members = {
        "metadata.json": json.dumps({"keras_version": KERAS_VERSION, "date_saved": _DATE}).encode(),
        "config.json": json.dumps(_config(saved.architecture)).encode(),
        "model.weights.h5": _weights(saved),
        "charloom.json": json.dumps(description, sort_keys=True, allow_nan=False).encode(),
    }
    write_atomically(path, _archive(members))
    return [path]


def _archive(members: dict[str, bytes]) -> bytes:
    data = BytesIO()
    with zipfile.ZipFile(data, "w") as archive:  # Keras does not compress either
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, _ZIP_DATE), content)
    return data.getvalue()


def _recurrent_names(architecture: Architecture) -> list[str]:
    """Return the layer names that Keras assigns by default: ``gru``, ``gru_1`` ..."""
    return [architecture.cell + (f"_{i}" if i else "") for i in range(architecture.num_layers)]


def _config(architecture: Architecture) -> dict[str, Any]:
    a = architecture
    recurrent: dict[str, Any] = {
        "units": a.hidden_size,
        "return_sequences": True,
        "return_state": False,
        "stateful": False,
    }
    recurrent |= {"activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True}
    recurrent |= {"reset_after": a.reset_after} if a.cell == "gru" else {"unit_forget_bias": True}
    layers = [
        _layer("InputLayer", {"batch_shape": [None, None], "dtype": "int32", "name": "ids"}),
        _layer(
            "Embedding",
            {"name": "embedding", "input_dim": a.vocabulary_size, "output_dim": a.embedding_size, "mask_zero": False},
        ),
        *(_layer(a.cell.upper(), {"name": name, **recurrent}) for name in _recurrent_names(a)),
        _layer("Dense", {"name": "dense", "units": a.vocabulary_size, "activation": "linear", "use_bias": True}),
    ]
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "charloom", "trainable": True, "layers": layers},
        "registered_name": None,
        "build_config": {"input_shape": [None, None]},
        "compile_config": _compile_config(),
    }


def _layer(class_name: str, config: dict[str, Any]) -> dict[str, Any]:
    return {"module": "keras.layers", "class_name": class_name, "config": config, "registered_name": None}


def _compile_config() -> dict[str, Any]:
    adam = {
        "name": "adam",
        "learning_rate": _LEARNING_RATE,
        "beta_1": 0.9,
        "beta_2": 0.999,
        "epsilon": 1e-07,
        "amsgrad": False,
    }
    loss = {"name": "sparse_categorical_crossentropy", "from_logits": True, "ignore_class": None}
    return {
        "optimizer": {"module": "keras.optimizers", "class_name": "Adam", "config": adam, "registered_name": None},
        "loss": {
            "module": "keras.losses",
            "class_name": "SparseCategoricalCrossentropy",
            "config": loss,
            "registered_name": None,
        },
    }


def _weights(saved: SavedModel) -> bytes:
    import h5py  # type: ignore[import-untyped]

    data = BytesIO()
    groups = _groups(saved)
    with h5py.File(data, "w") as file:
        for group, name, arrays in groups:
            variables = file.create_group(f"{group}/vars")
            variables.attrs["name"] = name
            for number, array in enumerate(arrays):
                variables.create_dataset(str(number), data=np.ascontiguousarray(array, np.float32))
        _write_optimizer(
            file.create_group("optimizer/vars"), [array.shape for _, _, arrays in groups for array in arrays]
        )
    return data.getvalue()


def _write_optimizer(variables: Any, shapes: list[tuple[int, ...]]) -> None:
    """Write Adam's initial state, without which Keras cannot load a compiled model.

    The two moments of each weight are zero. HDF5 stores no bytes for arrays that are never written.
    """
    variables.attrs["name"] = "adam"
    variables.create_dataset("0", data=np.int32(0))
    variables.create_dataset("1", data=np.float32(_LEARNING_RATE))
    for number, shape in enumerate((shape for shape in shapes for _ in range(2)), 2):
        variables.create_dataset(str(number), shape, np.float32)


def _groups(saved: SavedModel) -> list[tuple[str, str, list[NDArray[np.float32]]]]:
    """Return (HDF5 group, name of the layer's object, weights in Keras' order and layout) for each layer."""
    weights, cell = saved.weights, saved.architecture.cell
    groups = [("layers/embedding", "embedding", [weights["embedding.weight"]])]
    for i, name in enumerate(_recurrent_names(saved.architecture)):
        layer = f"layers.{i}."
        matrices = [swap_gates(weights[layer + kind], cell).T for kind in ("weight_ih", "weight_hh")]
        biases = [swap_gates(weights[layer + kind], cell) for kind in ("bias_ih", "bias_hh") if layer + kind in weights]
        bias = np.stack(biases) if len(biases) == 2 else biases[0]
        groups.append((f"layers/{name}/cell", f"{cell}_cell", [*matrices, bias]))
    return [*groups, ("layers/dense", "dense", [weights["output.weight"].T, weights["output.bias"]])]
