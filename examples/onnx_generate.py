"""Generate text from an ONNX model with NumPy and onnxruntime only, without charloom.

    charloom export runs/my_book --to onnx -o my_book.onnx
    python examples/onnx_generate.py my_book.onnx "Once " 500 0.8 1

Arguments: the single-step ONNX file, a prompt, the number of characters, the temperature, a seed, and for a model of
labeled records a label. A model of records stops at the end of a record. A byte model (``--unit byte``) generates bytes
instead of characters.
"""

import json
import sys
from collections.abc import Iterator

import numpy as np
import onnxruntime  # type: ignore[import-untyped, unused-ignore]


def generate(path: str, prompt: str, length: int, temperature: float, seed: int, label: str = "") -> Iterator[str]:
    """Yield the prompt, then one generated character at a time."""
    session = onnxruntime.InferenceSession(path)
    model = json.loads(session.get_modelmeta().custom_metadata_map["charloom"])
    characters, lines, draw = model["vocabulary"], model["lines"], np.random.default_rng(seed)
    layers, parts, _, hidden = session.get_inputs()[1].shape
    start = state = np.zeros((layers, parts, 1, hidden), np.float32)
    records, labels = "records" in model, model.get("labels", {})
    if label not in (labels or [""]):
        raise SystemExit(f"unknown label {label!r}; known labels: {', '.join(labels) or 'none'}")
    mark = "\x1e" if records else "\n"  # U+001E ends each record, U+001F its label; neither is shown
    read = (mark if records or lines or not prompt else "") + (f"{label}\x1f" if labels else "") + prompt
    yield prompt
    for number in range(len(read) + length - 1):
        state = start if (lines or records) and read[number] == mark else state  # independent texts
        ids = np.array([characters.index(read[number])], np.int64)
        logits, state = session.run(None, {"ids": ids, "state": state})
        if number == len(read) - 1:
            if labels:
                logits[0, characters.index("\x1f")] = -np.inf  # the mark after a label does not occur in a text
            weights = np.exp((logits[0] - logits.max()) / temperature, dtype=np.float64)
            read += characters[draw.choice(len(characters), p=weights / weights.sum())]
            if records and read[-1] == mark:
                return
            yield read[-1]


if __name__ == "__main__":
    for piece in generate(
        sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]), *sys.argv[6:]
    ):
        print(piece, end="", flush=True)
