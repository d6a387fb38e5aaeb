"""Files with invalid tensors (positions, names, values), and invalid checkpoints."""

import struct

from registry import GOOD, changed, filled, other, placed, resumed

placed("overlap", "two overlapping tensors", "tensors_not_contiguous embedding.weight", data_offsets=[0, 28])
changed(
    "gap",
    "a gap before a tensor",
    "tensors_not_contiguous output.bias",
    lambda d: (
        d.entries["output.bias"].update(data_offsets=[n + 4 for n in d.entries["output.bias"]["data_offsets"]]),
        setattr(d, "payload", d.payload + b"\0" * 4),
    ),
)
placed("offsets_backwards", "an end before the beginning", "tensor_size_mismatch output.bias", data_offsets=[28, 0])
placed("offsets_negative", "negative offsets", "invalid_tensor_shape output.bias", data_offsets=[-28, 0])
placed(
    "offsets_beyond",
    "offsets beyond the end of the file",
    "tensors_not_contiguous output.bias",
    data_offsets=[1 << 40, (1 << 40) + 28],
)
placed("offsets_wide", "an extent of 2^62 bytes", "tensor_size_mismatch output.bias", data_offsets=[0, 1 << 62])
placed("offsets_true", "offsets that are booleans", "invalid_tensor_shape output.bias", data_offsets=[False, True])
placed("offsets_fractions", "offsets that are floats", "invalid_tensor_shape output.bias", data_offsets=[0.0, 28.0])
placed("offsets_three", "three offsets", "invalid_tensor_shape output.bias", data_offsets=[0, 14, 28])
placed("offsets_a_word", "offsets that are a string", "invalid_tensor_shape output.bias", data_offsets="ab")
placed("shape_negative", "a negative size", "invalid_tensor_shape output.bias", shape=[-7])
placed("shape_negative_twice", "two negative sizes", "invalid_tensor_shape output.bias", shape=[-1, -7])
placed("shape_true", "a size that is a boolean", "invalid_tensor_shape output.bias", shape=[7, True])
placed("shape_a_fraction", "a size that is a float", "invalid_tensor_shape output.bias", shape=[7.0])
placed(
    "shape_that_wraps",
    "sizes whose product overflows 64 bits",
    "tensor_size_mismatch output.bias",
    shape=[1 << 32, 1 << 32],
)
placed("shape_too_deep", "1,000 dimensions", "invalid_tensor_shape output.bias", shape=[7] + [1] * 999)
placed("shape_empty", "no dimension", "tensor_size_mismatch output.bias", shape=[])
placed("shape_2d", "a matrix in place of a vector", "tensor_mismatch float32", shape=[1, 7])
placed("type_unknown", "an unknown type", "unsupported_tensor_type output.bias", dtype="Q4")
placed("type_bfloat16", "an unsupported type", "unsupported_tensor_type output.bias", dtype="BF16")
placed("type_a_list", "a type that is a list", "unsupported_tensor_type output.bias", dtype=["F32"])
placed("type_half", "float16 with twice as many numbers", "tensor_mismatch float32", dtype="F16", shape=[14])
placed("entry_more", "an entry with an additional key", "invalid_tensor_entry output.bias", code="import os")
changed(
    "entry_a_list",
    "an entry that is a list",
    "invalid_tensor_entry output.bias",
    lambda d: d.entries.update({"output.bias": [0, 28]}),
)
changed("tensor_missing", "a missing output bias", "file_size_mismatch", lambda d: d.entries.pop("output.bias"))
changed("tensor_more", "an additional tensor", "unexpected_tensors extra", lambda d: d.add("extra", "F32", [1]))
changed(
    "tensors_swapped",
    "two tensors with swapped names",
    "tensor_mismatch float32",
    lambda d: d.entries.update({"output.bias": d.entries["output.weight"], "output.weight": d.entries["output.bias"]}),
)
changed(
    "name_of_a_path",
    "a name that is a path",
    "unexpected_tensors ../../../etc/passwd",
    lambda d: d.add("../../../etc/passwd", "F32", [1]),
)
changed(
    "name_with_escapes",
    "a name with terminal escapes",
    "unexpected_tensors \x1b[2J",
    lambda d: d.add("\x1b[2J", "F32", [1]),
)
changed(
    "name_of_900_kB",
    "a name of 0.9 MB",
    f"unexpected_tensors {'a' * 60}…",
    lambda d: d.add("a" * 900_000, "F32", [1]),
)
other(
    "another_weight",
    "a changed weight",
    GOOD[:-2] + bytes([GOOD[-2] ^ 1]) + GOOD[-1:],
    "checksum_mismatch output.bias",
)
NAN, INFINITY = struct.pack("<f", float("nan")), struct.pack("<f", float("inf"))
filled("weight_nan", "a weight that is NaN", "non_finite_tensor", "output.bias", NAN)
filled("weight_infinite", "a weight that is infinite", "non_finite_tensor", "layers.0.weight_hh", INFINITY)
filled(
    "weight_nan_in_halves",
    "a float16 weight that is NaN",
    "non_finite_tensor",
    "output.bias",
    b"\x01\x7e",
    stored_as="float16",
)
filled(
    "scale_infinite", "a scale that is infinite", "non_finite_tensor", "output.weight.scale", INFINITY, stored_as="int8"
)
filled(
    "scale_negative",
    "a scale below 0",
    "invalid_scale output.weight.scale",
    "output.weight.scale",
    struct.pack("<f", -1),
    stored_as="int8",
)
filled(
    "scale_huge",
    "a scale whose weights overflow",
    "invalid_scale output.weight.scale",
    "output.weight.scale",
    struct.pack("<f", 3e38),
    stored_as="int8",
)
filled(
    "int8_minus_128",
    "an int8 weight of -128",
    "weight_out_of_range output.weight",
    "output.weight",
    b"\x80",
    stored_as="int8",
)
changed(
    "scale_missing",
    "an int8 matrix without scales",
    "unexpected_tensors",
    lambda d: d.entries.update({"output.weight.scaled": d.entries.pop("output.weight.scale")}),
    stored_as="int8",
)

# --- checkpoints

resumed(
    "files_elsewhere",
    "files to truncate outside the run folder",
    "invalid_fact files",
    files={"../../../home/user/.bashrc": 0},
)
resumed("files_of_the_run", "the model as a file to truncate", "invalid_fact files", files={"model.safetensors": 0})
resumed("sources_none", "an empty list of sources", "invalid_fact sources", sources=[])
resumed("sources_standard_input", "standard input as a source", "invalid_fact sources", sources=[{"path": "-"}])
resumed("sources_a_word", "sources that are a string", "invalid_fact sources", sources="/etc/passwd")
resumed("position_a_word", "a position that is a string", "invalid_fact position", position="12")
resumed("history_of_lists", "a history of lists", "invalid_fact history", history={"step": [1]})
resumed("history_of_words", "a history of strings", "invalid_fact history", history={"step": {"step": "1"}})
resumed("device_missing", "a missing device", "missing_fact device", device=None)
changed(
    "training_null", "a training section that is null", "not_an_object", lambda d: d.description.update(training=None)
)
changed(
    "training_without_facts",
    "a checkpoint without the name of its corpus",
    "missing_fact corpus",
    lambda d: d.description["facts"].pop("corpus"),
    checkpoint=True,
)
changed(
    "training_unknown",
    "an unknown tensor in the training section",
    "unknown_tensors ../x",
    lambda d: d.add("training.../x", "F32", [1]),
    checkpoint=True,
)
changed(
    "training_half",
    "an incomplete optimizer state",
    "incomplete_optimizer_state output.bias",
    lambda d: d.entries.update({"training.x": d.entries.pop("training.optimizer.exp_avg.output.bias")}),
    checkpoint=True,
)
changed(
    "training_other_streams",
    "a state for 2 streams with a batch size of 3",
    "tensor_mismatch float32",
    lambda d: d.description["facts"]["settings"].update(batch_size=3),
    checkpoint=True,
)
changed(
    "training_more_losses",
    "more losses than steps",
    "tensor_mismatch float64",
    lambda d: d.description["training"].update(step=1),
    checkpoint=True,
)
filled(
    "training_nan",
    "a loss that is NaN",
    "non_finite_tensor",
    "training.losses.last_epoch",
    struct.pack("<d", float("nan")),
    checkpoint=True,
)
