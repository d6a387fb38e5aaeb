"""Generate text from an ONNX model with NumPy and onnxruntime only, without charloom.

    charloom export runs/my_book --to onnx -o my_book.onnx
    python examples/onnx_generate.py my_book.onnx "Once " 500 0.8 1

Arguments: the single-step ONNX file, a prompt, the number of characters, the temperature, and a seed. A byte model
(``--unit byte``) generates bytes instead of characters.
"""

import json
import sys
from collections.abc import Iterator

import numpy as np
import onnxruntime  # type: ignore[import-untyped, unused-ignore]


def generate(path: str, prompt: str, length: int, temperature: float, seed: int) -> Iterator[str]:
    """Yield the prompt, then one generated character at a time."""
    session = onnxruntime.InferenceSession(path)
    model = json.loads(session.get_modelmeta().custom_metadata_map["charloom"])
    characters, lines, draw = model["vocabulary"], model["lines"], np.random.default_rng(seed)
    layers, parts, _, hidden = session.get_inputs()[1].shape
    start = state = np.zeros((layers, parts, 1, hidden), np.float32)
    read = ("\n" if lines or not prompt else "") + prompt  # a text starts after a newline
    yield prompt
    for number in range(len(read) + length - 1):
        state = start if lines and read[number] == "\n" else state  # lines are independent: reset the state
        ids = np.array([characters.index(read[number])], np.int64)
        logits, state = session.run(None, {"ids": ids, "state": state})
        if number == len(read) - 1:
            weights = np.exp((logits[0] - logits.max()) / temperature, dtype=np.float64)
            read += characters[draw.choice(len(characters), p=weights / weights.sum())]
            yield read[-1]


if __name__ == "__main__":
    for piece in generate(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])):
        print(piece, end="", flush=True)
