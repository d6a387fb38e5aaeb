"""Read TensorFlow checkpoints, which the tutorial saves.

Only TensorFlow can read its checkpoint format. It runs in the worker process, ``hdf5_worker``.
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
_TRAINING_STATE = ("optimizer", "save_counter", "_optimizer", "keras_api", "seed_generator")
_MAX_NUMBERS = 1 << 30


def read_checkpoint(path: Path) -> dict[str, NDArray[np.float32]]:
    """Return the weights of a checkpoint by name.

    Args:
        path: A folder, whose latest checkpoint is read, or a checkpoint's prefix, such as ``.../ckpt_10``.

    Raises:
        ModelFileError: If there is no checkpoint, TensorFlow is not installed, or it cannot read the checkpoint.
    """
    if find_spec("tensorflow") is None:
        raise ModelFileError(
            "Reading a TensorFlow checkpoint requires TensorFlow, which is not installed: pip install tensorflow-cpu. "
            "Alternatively, load the weights in Keras and save them with model.save('model.keras').",
            code="tensorflow_missing",
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tensorflow import errors, train  # type: ignore[import-not-found, import-untyped, unused-ignore]

    prefix = train.latest_checkpoint(str(path)) if path.is_dir() else str(path)
    if prefix is None:
        raise ModelFileError(
            f"The folder contains no TensorFlow checkpoint. {_ACCEPTED}", code="no_tensorflow_checkpoint"
        )
    try:
        return _weights(train.load_checkpoint(prefix))
    except (errors.OpError, ValueError, RuntimeError) as error:
        raise ModelFileError(
            f"TensorFlow cannot read the checkpoint ({str(error)[:200]}). {_ACCEPTED}", code="damaged_keras_file"
        ) from None


_ACCEPTED = (
    "Pass a folder with a file named 'checkpoint', or the common prefix of one checkpoint's files, such as "
    "training_checkpoints/ckpt_10."
)


def _weights(reader: Any) -> dict[str, NDArray[np.float32]]:
    shapes = {
        name: shape
        for name, shape in reader.get_variable_to_shape_map().items()
        if name.endswith(_VALUE) and _SLOT not in name and not set(name.split("/")) & set(_TRAINING_STATE)
    }
    if sum(int(np.prod(shape)) for shape in shapes.values()) > _MAX_NUMBERS:
        raise ModelFileError(
            f"The checkpoint contains more than {_MAX_NUMBERS:,} numbers.",
            code="keras_file_too_large",
            maximum=_MAX_NUMBERS,
        )
    arrays = {name: np.asarray(reader.get_tensor(name)) for name in sorted(shapes)}
    return {
        name.removesuffix(_VALUE): np.ascontiguousarray(array, np.float32)
        for name, array in arrays.items()
        if array.dtype.kind == "f" or array.dtype.name == "bfloat16"
    }
