"""Pack a model in the format of the WebAssembly engine, ``native/wasm/page_engine.cpp``, with int8 weights.

The format starts with eight 32-bit integers: the magic number "CLM1", the cell, V, the embedding size, H, L, the id of
the mark for models of lines or records (else -1), and the id to read first for a text without a prompt. Matrices and
vectors follow, each padded with zeros to a multiple of 4 bytes. A matrix is one float32 scale for each row, then the
int8 values row by row. All numbers are little-endian.

The table of the first layer's input projections (V, G*H) is not stored: with large vocabularies it is much larger than
the two matrices whose product it is. The engine computes it when it loads the model.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from charloom.data.text_format import LABEL_MARK
from charloom.inference.engines.folding import FoldedLayer, fold, input_bias
from charloom.inference.generation import prompt_ids
from charloom.model.file.model_file import SavedModel
from charloom.model.quantization import Quantized, quantize

_MAGIC = int.from_bytes(b"CLM1", "little")
_CELLS = {"gru": 0, "gru_reset_before": 1, "lstm": 2}  # the values of `Cell` in native/engine/network.h
_WORD = 4
_NEVER = -1e30  # logit with the probability 0, finite in float32


def pack_model(saved: SavedModel) -> bytes:
    """Return a model in the format that the exported page's engine loads.

    Args:
        saved: The model. Its weights are quantized as by ``charloom generate --precision int8``.

    Raises:
        ModelFileError: If the sums of a layer's weights overflow float32.
    """
    return b"".join(part + bytes(-len(part) % _WORD) for part in _parts(saved))


def _parts(saved: SavedModel) -> Iterator[bytes]:
    architecture, weights, vocabulary = saved.architecture, saved.weights, saved.vocabulary
    network = fold(architecture, weights, "int8")
    mark = saved.rules.mark
    mark_id = -1 if mark is None else int(vocabulary.encode(mark)[0])
    start_id = int(prompt_ids(vocabulary, "", rules=saved.rules)[0])
    sizes = architecture.vocabulary_size, architecture.embedding_size, architecture.hidden_size
    yield np.array([_MAGIC, _CELLS[network.cell], *sizes, len(network.layers), mark_id, start_id], "<i4").tobytes()
    yield from _matrix(quantize(weights["embedding.weight"]))
    yield from _matrix(quantize(weights["layers.0.weight_ih"]))
    yield _floats(input_bias(architecture, weights, 0))
    for layer in network.layers:
        yield from _layer(layer)
    yield from _matrix(network.output)
    bias = network.output_bias
    if saved.rules.labels:  # the mark after a label is read, but never generated
        bias = bias.copy()
        bias[vocabulary.encode(LABEL_MARK)[0]] = _NEVER
    yield _floats(bias)


def _layer(layer: FoldedLayer) -> Iterator[bytes]:
    if layer.input is not None and layer.input_bias is not None:
        yield from _matrix(layer.input)
        yield _floats(layer.input_bias)
    yield from _matrix(layer.state)
    if layer.candidate is not None:
        yield from _matrix(layer.candidate)
    if layer.candidate_bias is not None:
        yield _floats(layer.candidate_bias)


def _matrix(matrix: Quantized | NDArray[np.float32]) -> Iterator[bytes]:
    assert isinstance(matrix, Quantized)  # a network folded for int8 has only quantized matrices
    yield _floats(matrix.scales)
    yield np.ascontiguousarray(matrix.values, "i1").tobytes()


def _floats(values: NDArray[np.float32]) -> bytes:
    return np.ascontiguousarray(values, "<f4").tobytes()
