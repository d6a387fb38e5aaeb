"""A model file as separate parts, built without charloom, whose checksums are recomputed after changes."""

import copy
import hashlib
import json
import math
import random
import struct

SIZES = {"F64": 8, "F32": 4, "F16": 2, "I8": 1}
LETTERS = {"F64": "d", "F32": "f", "F16": "e", "I8": "b"}
CHARACTERS = "\n abcde"
CHECKPOINT = {
    "step": 12,
    "position": [1, 2],
    "rate_factor": 1.0,
    "finished": False,
    "history": {
        "step": {"step": 12, "epoch": 1.2, "loss": 1.5, "grad_norm": 0.5, "learning_rate": 0.01, "seconds": 0.1},
        "evaluation": None,
        "best": None,
        "sampled": 0,
        "skipped": 0,
        "rollbacks": 0,
        "waited": 0,
        "lowest": None,
        "ended": False,
        "watched": 0,
    },
    "files": {"metrics.jsonl": 100, "samples.txt": 0},
    "seconds": 3.5,
    "device": "cpu",
    "sources": [{"path": "../../my_book.txt"}],
    "text_format": {
        "encoding": "utf-8",
        "newlines": "keep",
        "normalize": "none",
        "unit": "char",
        "boundary": "",
        "lines": False,
        "column": None,
    },
}


class Draft:
    """The parts of a model file.

    Attributes:
        description: The description without ``tensor_sha256``, which is computed when the file is written.
        entries: The safetensors header entries of the tensors by name.
        payload: The bytes of all tensors.
    """

    def __init__(self, cell="gru", stored_as="float32", reset_after=True, checkpoint=False, layers=1, hidden=5):
        self.description = {
            "format_version": 1,
            "architecture": {
                "cell": cell,
                "embedding_size": 4,
                "hidden_size": hidden,
                "num_layers": layers,
                "reset_after": reset_after,
                "vocabulary_size": len(CHARACTERS),
            },
            "vocabulary": CHARACTERS,
            "facts": {
                "corpus": "weaving",
                "corpus_sha256": "0" * 64,
                "corpus_characters": 1000,
                "recipe": "auto",
                "settings": {"batch_size": 2, "learning_rate": 0.01, "cell": cell, "val_fraction": 0.1},
                "step": 12,
                "epoch": 1.2,
                "train_loss": 1.5,
                "val_loss": 1.625,
                "best_val_loss": None,
            },
            "weights": stored_as,
        }
        self.entries = {}
        self.payload = b""
        self._random = random.Random(7)
        shapes = weight_shapes(self.description["architecture"])
        for name, shape in shapes.items():
            quantized = stored_as == "int8" and len(shape) == 2
            kind = "I8" if quantized else {"float16": "F16"}.get(stored_as, "F32")
            self.add(name, kind, shape)
            if quantized:
                self.add(f"{name}.scale", "F32", shape[:1], [0.0078125] * shape[0])
        if checkpoint:
            self._add_training(shapes, cell, hidden, layers)

    def _add_training(self, shapes, cell, hidden, layers):
        self.description["training"] = copy.deepcopy(CHECKPOINT)
        for name, shape in shapes.items():
            self.add(f"training.optimizer.step.{name}", "F32", [1], [12.0])
            self.add(f"training.optimizer.exp_avg.{name}", "F32", shape)
            self.add(f"training.optimizer.exp_avg_sq.{name}", "F32", shape)
        for part in ("hidden", "cell")[: 2 if cell == "lstm" else 1]:
            for layer in range(layers):
                self.add(f"training.state.{part}.{layer}", "F32", [1, 2, hidden])
        self.add("training.losses.last_epoch", "F64", [5])
        self.add("training.losses.since_evaluation", "F64", [0])

    def add(self, name, kind, shape, values=None):
        """Append a tensor, with random values by default."""
        count = math.prod(shape)
        if values is None and kind == "I8":
            values = [self._random.randint(-127, 127) for _ in range(count)]
        elif values is None:
            values = [self._random.uniform(-1, 1) for _ in range(count)]
        data = struct.pack(f"<{count}{LETTERS[kind]}", *values)
        begin = len(self.payload)
        self.payload += data
        self.entries[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [begin, begin + len(data)]}

    def put(self, name, data, at=0):
        """Replace bytes of a tensor."""
        begin = self.entries[name]["data_offsets"][0] + at
        self.payload = self.payload[:begin] + data + self.payload[begin + len(data) :]

    def copy(self):
        """Return a deep copy."""
        return copy.deepcopy(self)

    def signed_description(self):
        """Return the checksum of the description and the description, including the checksum of each tensor."""
        sums = {name: hashlib.sha256(self._bytes_of(entry)).hexdigest() for name, entry in self.entries.items()}
        text = json.dumps(
            {**self.description, "tensor_sha256": self.description.get("tensor_sha256", sums)}, sort_keys=True
        )
        return sign(text)

    def _bytes_of(self, entry):
        try:
            begin, end = entry["data_offsets"]
            return self.payload[begin:end]
        except (TypeError, ValueError, KeyError, AttributeError):
            return b""

    def data(self, description=None):
        """Return the bytes of the file; a given description is used unchanged instead of ``signed_description``."""
        signed = self.signed_description() if description is None else description
        return whole({"__metadata__": {"charloom": signed}, **self.entries}, self.payload)


def weight_shapes(a):
    """Return the shape of every weight of an architecture."""
    rows = {"gru": 3, "lstm": 4}[a["cell"]] * a["hidden_size"]
    shapes = {"embedding.weight": [a["vocabulary_size"], a["embedding_size"]]}
    for i in range(a["num_layers"]):
        shapes[f"layers.{i}.weight_ih"] = [rows, a["hidden_size"] if i else a["embedding_size"]]
        shapes[f"layers.{i}.weight_hh"] = [rows, a["hidden_size"]]
        shapes[f"layers.{i}.bias_ih"] = [rows]
        if a["cell"] == "gru" and a["reset_after"]:
            shapes[f"layers.{i}.bias_hh"] = [rows]
    shapes["output.weight"] = [a["vocabulary_size"], a["hidden_size"]]
    shapes["output.bias"] = [a["vocabulary_size"]]
    return shapes


def sign(text):
    """Return the checksum of a description, a space, and the description."""
    return f"{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()} {text}"


def whole(header, payload):
    """Return a file with this header, given as a JSON value or as text, and these tensor bytes."""
    text = header if isinstance(header, (str, bytes)) else json.dumps(header, separators=(",", ":"))
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    data += b" " * (-len(data) % 8)
    return struct.pack("<Q", len(data)) + data + payload
