"""Read TensorFlow checkpoints, which the tutorial saves.

Their format is TensorFlow's own, so that TensorFlow reads them. It runs in the worker process, ``hdf5_worker``.
"""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom.errors import ModelFileError

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_SLOT = "/.OPTIMIZER_SLOT"
_NO_PART = ("optimizer", "save_counter", "_optimizer", "keras_api", "seed_generator")
_MAX_NUMBERS = 1 << 30


def read_checkpoint(path: Path) -> dict[str, NDArray[np.float32]]:
    """Return the weights of a checkpoint by their names.

    Args:
        path: The folder, of which the latest is taken, or a checkpoint's prefix, such as ``.../ckpt_10``.

    Raises:
        ModelFileError: If there is none, TensorFlow is missing, or it cannot read it.
    """
    if find_spec("tensorflow") is None:
        raise ModelFileError(
            "it is a checkpoint of TensorFlow, which only TensorFlow can read, and that is not installed here: "
            "pip install tensorflow-cpu. Or load the weights in Keras and write them with model.save('model.keras')."
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tensorflow import errors, train  # type: ignore[import-not-found, import-untyped, unused-ignore]

    prefix = train.latest_checkpoint(str(path)) if path.is_dir() else str(path)
    if prefix is None:
        raise ModelFileError(f"the folder names no checkpoint. {_ACCEPTED}")
    try:
        return _weights(train.load_checkpoint(prefix))
    except (errors.OpError, ValueError, RuntimeError) as error:
        raise ModelFileError(f"TensorFlow cannot read it ({str(error)[:200]}). {_ACCEPTED}") from None


_ACCEPTED = (
    "Accepted are a folder that holds a file named checkpoint, and the beginning that the files of one checkpoint "
    "share, such as training_checkpoints/ckpt_10."
)


def _weights(reader: Any) -> dict[str, NDArray[np.float32]]:
    shapes = {
        name: shape
        for name, shape in reader.get_variable_to_shape_map().items()
        if name.endswith(_VALUE) and _SLOT not in name and not set(name.split("/")) & set(_NO_PART)
    }
    if sum(int(np.prod(shape)) for shape in shapes.values()) > _MAX_NUMBERS:
        raise ModelFileError(f"it holds more than {_MAX_NUMBERS:,} numbers.")
    arrays = {name: np.asarray(reader.get_tensor(name)) for name in sorted(shapes)}
    return {
        name.removesuffix(_VALUE): np.ascontiguousarray(array, np.float32)
        for name, array in arrays.items()
        if array.dtype.kind == "f" or array.dtype.name == "bfloat16"
    }
