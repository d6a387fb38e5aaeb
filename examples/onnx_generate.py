"""Generate text from a model in ONNX, with NumPy and onnxruntime alone: what a program without charloom does.

    charloom export runs/my_book --to onnx -o my_book.onnx
    python examples/onnx_generate.py my_book.onnx "Once " 500 0.8 1

Arguments: the file of one step, a prompt, how many characters, the temperature, and a seed.
"""

import json
import sys
from collections.abc import Iterator

import numpy as np
import onnxruntime  # type: ignore[import-untyped, unused-ignore]


def generate(path: str, prompt: str, length: int, temperature: float, seed: int) -> Iterator[str]:
    """Yield the prompt, then one character after another."""
    session = onnxruntime.InferenceSession(path)
    characters = json.loads(session.get_modelmeta().custom_metadata_map["charloom"])["vocabulary"]
    layers, parts, _, hidden = session.get_inputs()[1].shape
    state, draw = np.zeros((layers, parts, 1, hidden), np.float32), np.random.default_rng(seed)
    ids = [characters.index(character) for character in prompt]
    yield prompt
    for number in range(len(prompt) + length - 1):
        logits, state = session.run(None, {"ids": np.array([ids[number]]), "state": state})
        if number >= len(prompt) - 1:
            shares = np.exp((logits[0] - logits.max()) / temperature, dtype=np.float64)
            ids.append(draw.choice(len(characters), p=shares / shares.sum()))
            yield characters[ids[-1]]


if __name__ == "__main__":
    for piece in generate(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])):
        print(piece, end="", flush=True)
