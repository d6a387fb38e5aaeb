"""Generate text from a model in ONNX, with NumPy and onnxruntime alone: what a program without charloom does.

    charloom export runs/my_book --to onnx -o my_book.onnx
    python examples/onnx_generate.py my_book.onnx "Once " 500 0.8 1

Arguments: the file of one step, a prompt, how many characters, the temperature, and a seed. A model of bytes
(``--unit byte``) writes a byte for a character.
"""

import json
import sys
from collections.abc import Iterator

import numpy as np
import onnxruntime  # type: ignore[import-untyped, unused-ignore]


def generate(path: str, prompt: str, length: int, temperature: float, seed: int) -> Iterator[str]:
    """Yield the prompt, then one character after another."""
    session = onnxruntime.InferenceSession(path)
    model = json.loads(session.get_modelmeta().custom_metadata_map["charloom"])
    characters, lines, draw = model["vocabulary"], model["lines"], np.random.default_rng(seed)
    layers, parts, _, hidden = session.get_inputs()[1].shape
    start = state = np.zeros((layers, parts, 1, hidden), np.float32)
    read = ("\n" if lines or not prompt else "") + prompt  # what a text begins behind
    yield prompt
    for number in range(len(read) + length - 1):
        state = start if lines and read[number] == "\n" else state  # no line knows of the one before
        ids = np.array([characters.index(read[number])], np.int64)
        logits, state = session.run(None, {"ids": ids, "state": state})
        if number == len(read) - 1:
            shares = np.exp((logits[0] - logits.max()) / temperature, dtype=np.float64)
            read += characters[draw.choice(len(characters), p=shares / shares.sum())]
            yield read[-1]


if __name__ == "__main__":
    for piece in generate(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])):
        print(piece, end="", flush=True)
