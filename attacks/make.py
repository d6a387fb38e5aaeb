"""Write bad model files, each of another kind, to be opened by who dares.

    python attacks/make.py FOLDER

Prints the name of each, what is wrong with it, and words of the reason why charloom refuses it. What this machine
cannot make (pipes, sparse files, links) is left out and said. ``tests/test_hostile.py`` opens them all.
"""

import gzip
import io
import json
import os
import socket
import struct
import sys
import zipfile
from pathlib import Path

from draft import Draft, sign, weight_shapes, whole

ATTACKS = {}
# what unpickling would run: os.system("touch OWNED"); written by hand, since nothing here may pickle
PICKLE = b"\x80\x02cos\nsystem\nX\x0b\x00\x00\x00touch OWNED\x85R."


def attack(explanation, reason):
    """Register a function that returns a bad file's bytes, or makes it at the path it is given."""

    def register(function):
        ATTACKS[function.__name__] = (explanation, reason, function)
        return function

    return register


def changed(name, explanation, reason, change, **kind):
    """Register a whole file of which one part is changed, and which is signed again."""

    def make():
        draft = Draft(**kind)
        change(draft)
        return draft.data()

    ATTACKS[name] = (explanation, reason, make)


def header_of(data):
    """Return the JSON text of a file's header, and the bytes behind it."""
    length = struct.unpack("<Q", data[:8])[0]
    return data[8 : 8 + length].decode(), data[8 + length :]


def described(name, explanation, reason, **parts):
    """Register a file whose description says something else, signed again."""
    changed(name, explanation, reason, lambda d: d.description.update(parts))


def sized(name, explanation, reason, **sizes):
    """Register a file whose architecture says something else, signed again."""
    changed(name, explanation, reason, lambda d: d.description["architecture"].update(sizes))


def told(name, explanation, reason, **facts):
    """Register a file whose facts say something else, signed again."""
    changed(name, explanation, reason, lambda d: d.description["facts"].update(facts))


def placed(name, explanation, reason, **entry):
    """Register a file that describes one tensor in another way, signed again."""
    changed(name, explanation, reason, lambda d: d.entries["output.bias"].update(entry))


def filled(name, explanation, reason, tensor, value, **kind):
    """Register a file in one of whose tensors one number is another, signed again."""
    changed(name, explanation, reason, lambda d: d.put(tensor, value), **kind)


def resumed(name, explanation, reason, **facts):
    """Register a checkpoint that tells something else of its training, signed again."""
    changed(name, explanation, reason, lambda d: d.description["training"].update(facts), checkpoint=True)


def other(name, explanation, data, reason="not a safetensors file"):
    """Register bytes that are no safetensors file."""
    ATTACKS[name] = (explanation, reason, lambda: data)


def zipped(**files):
    """Return a zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "/"), data)
    return buffer.getvalue()


# --- the frame

GOOD = Draft().data()
HEADER, PAYLOAD = header_of(GOOD)

other("empty", "not one byte", b"")
other("one_byte", "one byte", b"\x08")
other("length_alone", "a header's length and nothing else", struct.pack("<Q", 2))
other("length_zero", "a header of no length", struct.pack("<Q", 0) + b"{}")
other("length_beyond_the_end", "a header longer than the file", struct.pack("<Q", len(GOOD)) + GOOD[8:])
other("length_of_all_bits", "a header of 2^64 - 1 bytes", b"\xff" * 8 + GOOD[8:])
other("length_of_4_GB", "a header of 4 GB", struct.pack("<Q", 1 << 32) + GOOD[8:])
other("length_too_short", "a header one byte longer than said", struct.pack("<Q", len(HEADER) - 9) + GOOD[8:])
other("cut_in_the_header", "the first 300 bytes", GOOD[:300])
other("cut_in_the_tensors", "the last byte is gone", GOOD[:-1], "follow its header")
other("a_byte_too_many", "one byte behind the last tensor", GOOD + b"\0", "follow its header")
other("long_header", "a header of 3 MB of spaces", whole(HEADER + " " * (3 << 20), PAYLOAD), "at most 2,097,152")
other("no_json", "a header that is no JSON", whole("{not json}", PAYLOAD), "no JSON")
other("no_utf8", "a header that is not UTF-8", whole(b'{"\xff\xfe": 1}', PAYLOAD), "not UTF-8")
other("utf16", "a header in UTF-16", whole(HEADER.encode("utf-16-le"), PAYLOAD))
other("byte_order_mark", "a header behind a byte order mark", whole("\ufeff" + HEADER, PAYLOAD))
other("leading_space", "a header that begins with a space", whole(" " + HEADER, PAYLOAD))
other("newline_behind", "a header that ends with a newline", whole(HEADER.rstrip() + "\n", PAYLOAD))
other("a_list", "a header that is a list", whole("[1, 2, 3]", PAYLOAD))
other("two_objects", "a header of two objects", whole(HEADER.rstrip() + "{}", PAYLOAD), "no JSON")
other("nan_in_json", "a header with NaN", whole(HEADER.replace('"shape":[7]', '"shape":[NaN]'), PAYLOAD), "no JSON")
other("infinity_in_json", "a header with 1e999", whole(HEADER.replace("[7]", "[1e999]"), PAYLOAD), "too large")
other(
    "huge_whole_number", "a size of 4,000 digits", whole(HEADER.replace("[7]", f"[{'9' * 4000}]"), PAYLOAD), "no JSON"
)
other(
    "deep_lists",
    "100,000 lists within each other",
    whole('{"a":' + "[" * 100_000 + "]" * 100_000 + "}", b""),
    "100,000",
)
other("rather_deep", "900 lists within each other", whole('{"a":' + "[" * 900 + "]" * 900 + "}", b""), "too deeply")
other(
    "deeper_than_python",
    "20,000 lists within each other",
    whole('{"a":' + "[" * 20_000 + "]" * 20_000 + "}", b""),
    "no JSON",
)
other("many_values", "600,000 empty lists", whole('{"a":[' + "[]," * 600_000 + "[]]}", b""), "100,000 values")
NOTHING = {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(10_000)}
other(
    "many_tensors",
    "10,000 tensors of nothing",
    whole({"__metadata__": {"charloom": "x"}} | NOTHING, b""),
    "at most 1,280",
)
other(
    "duplicate_tensors",
    "one name for two tensors",
    whole(HEADER.replace('"output.bias":', '"output.weight":'), PAYLOAD),
    "stands in it twice",
)
other(
    "duplicate_metadata",
    "two descriptions, of which readers take another",
    whole(HEADER.replace("{", '{"__metadata__":{"charloom":"x"},', 1), PAYLOAD),
    "stands in it twice",
)

# --- the description

other("no_metadata", "a plain safetensors file", whole(Draft().entries, PAYLOAD), "without charloom's description")
other(
    "metadata_is_a_number",
    "metadata that is a number",
    whole({"__metadata__": 5}, b""),
    "without charloom's description",
)
other(
    "metadata_is_a_list",
    "metadata that is a list",
    whole({"__metadata__": ["charloom"]}, b""),
    "without charloom's description",
)
other(
    "metadata_of_numbers",
    "a description that is a number",
    whole({"__metadata__": {"charloom": 5}}, b""),
    "without charloom's description",
)
other(
    "more_metadata",
    "another entry beside the description",
    whole({"__metadata__": {"charloom": "x", "code": "import os"}}, b""),
    "without charloom's description",
)
other(
    "wrong_checksum",
    "a description with another's checksum",
    Draft().data("0" * 64 + Draft().signed_description()[64:]),
    "match its checksum",
)
other("no_checksum", "a description without one", Draft().data(Draft().signed_description()[65:]), "match its checksum")
other("empty_description", "a description that is empty", Draft().data(""), "match its checksum")
other("description_is_a_list", "a description that is a list", Draft().data(sign("[]")), "does not describe a model")
other(
    "description_is_deep",
    "a description 900 lists deep",
    Draft().data(sign('{"a":' + "[" * 900 + "]" * 900 + "}")),
    "too deeply",
)
other(
    "half_a_character", "half a character in the description", Draft().data(sign('{"\ud800": 1}')), "half a character"
)
other(
    "duplicate_keys",
    "two vocabularies in one description",
    Draft().data(sign(Draft().signed_description()[65:].replace('"vocabulary"', '"vocabulary": "abc", "vocabulary"'))),
    "stands in it twice",
)
other(
    "nan_in_the_description",
    "a loss that is NaN",
    Draft().data(sign(Draft().signed_description()[65:].replace("1.625", "NaN"))),
    "no JSON",
)
described("version_2", "of a version to come", "format version 2", format_version=2)
described("version_true", "of the version true, which Python takes for 1", "format version 'True'", format_version=True)
described("unknown_key", "a key that nobody knows", "'code'", code="import os")
changed("missing_key", "no facts", "'facts'", lambda d: d.description.pop("facts"))
described("weights_in_3_bits", "weights stored in no known way", "known way", weights="int3")
described("weights_in_a_list", "a way to store that is a list", "known way", weights=["float32"])
described("sums_are_a_list", "checksums in a list", "checksum for each", tensor_sha256=["0" * 64])
described("sums_are_missing", "no checksums", "checksum for each", tensor_sha256={})
described("vocabulary_empty", "no character", "at least one character", vocabulary="")
described("vocabulary_a_number", "a vocabulary that is a number", "vocabulary is text", vocabulary=7)
described("vocabulary_a_list", "a vocabulary that is a list", "vocabulary is text", vocabulary=list("\n abcde"))
described("vocabulary_twice", "the same character twice", "twice", vocabulary="\n abcdd")
described("vocabulary_short", "fewer characters than rows", "5 characters", vocabulary="\n abc")
described("unit_unknown", "a unit that there is not", "what it reads", unit="word")
described("unit_a_list", "a unit that is a list", "what it reads", unit=["byte"])
described("unit_byte", "a model of bytes that does not know all of them", "all 256", unit="byte")
described("lines_a_number", "lines that are a number", "what it reads", lines=1)
described(
    "lines_without_ends", "a model of lines that knows no line feed", "no line feed", lines=True, vocabulary="- abcde"
)
described("vocabulary_half", "half a character", "half a character", vocabulary="\n abcd\udc80")
changed(
    "characters_65537",
    "65,537 characters",
    "from 1 to 65536",
    lambda d: (
        d.description.update(vocabulary="".join(map(chr, range(0x10000, 0x20001)))),
        d.description["architecture"].update(vocabulary_size=65_537),
    ),
)
sized("hidden_huge", "a billion units", "hidden_size must be", hidden_size=10**9)
sized("layers_huge", "a billion layers", "num_layers must be", num_layers=10**9)
sized("layers_64", "64 layers, of which one is there", "not those of its architecture", num_layers=64)
sized("hidden_negative", "-5 units", "hidden_size must be", hidden_size=-5)
sized("hidden_true", "true units, which Python takes for 1", "hidden_size must be", hidden_size=True)
sized("hidden_a_fraction", "5.0 units", "hidden_size must be", hidden_size=5.0)
sized("hidden_a_word", "units in a word, a long one", "hidden_size must be", hidden_size="5" * 100_000)
sized("hidden_other", "6 units, but weights for 5", "must be float32", hidden_size=6)
sized("embedding_zero", "an embedding of no width", "embedding_size must be", embedding_size=0)
sized("cell_unknown", "a cell that does not exist", "cell must be one of", cell="__import__")
sized("cell_a_list", "a cell that is a list", "does not describe a model", cell=["gru"])
sized("cell_other", "weights of another cell", "not those of its architecture", cell="lstm")
sized("reset_a_number", "1 for true", "reset_after must be", reset_after=1)
sized("architecture_more", "a size that nobody knows", "does not describe a model", **{"\x1b[31m": 1})
changed(
    "architecture_less", "no cell", "does not describe a model", lambda d: d.description["architecture"].pop("cell")
)
described("architecture_a_list", "an architecture that is a list", "does not describe a model", architecture=[1, 2])

# --- facts

described("facts_a_list", "facts in a list", "facts are no JSON object", facts=[])
told("settings_a_word", "settings that are text", "'settings'", settings="batch_size=2")
told("settings_nested", "a setting that is a list", "'settings'", settings={"batch_size": [2]})
told("settings_holding_out_all", "all of the text held out", "'settings'", settings={"val_fraction": 2})
told("step_a_word", "a step that is text", "'step'", step="12")
told("step_true", "a step that is true", "'step'", step=True)
told("loss_a_word", "a loss that is text", "'val_loss'", val_loss="low")
told("loss_a_list", "a loss that is a list", "'train_loss'", train_loss=[1.5])
told("corpus_with_escapes", "a name that clears the terminal", "'corpus'", corpus="\x1b[2J\x1b]0;owned\x07")
told("corpus_of_a_megabyte", "a name of 1 MB", "'corpus'", corpus="a" * (1 << 20))
told("corpus_backwards", "a name that turns the line around", "'corpus'", corpus="\u202egpj.exe")
told("recipe_an_object", "a recipe that is an object", "'recipe'", recipe={"__class__": "os"})
told("characters_negative", "a text of -1 characters", "'corpus_characters'", corpus_characters=-1)

# --- tensors

placed("overlap", "a tensor over another", "does not begin where", data_offsets=[0, 28])
changed(
    "hole",
    "a hole before a tensor",
    "does not begin where",
    lambda d: (
        d.entries["output.bias"].update(data_offsets=[n + 4 for n in d.entries["output.bias"]["data_offsets"]]),
        setattr(d, "payload", d.payload + b"\0" * 4),
    ),
)
placed("offsets_backwards", "an end before its beginning", "another length", data_offsets=[28, 0])
placed("offsets_negative", "a place before the file", "no shape or place", data_offsets=[-28, 0])
placed("offsets_beyond", "a place behind the file", "does not begin where", data_offsets=[1 << 40, (1 << 40) + 28])
placed("offsets_wide", "a place of 2^62 bytes", "another length", data_offsets=[0, 1 << 62])
placed("offsets_true", "a place that is true and false", "no shape or place", data_offsets=[False, True])
placed("offsets_fractions", "places with fractions", "no shape or place", data_offsets=[0.0, 28.0])
placed("offsets_three", "three places", "no shape or place", data_offsets=[0, 14, 28])
placed("offsets_a_word", "places in a word", "no shape or place", data_offsets="ab")
placed("shape_negative", "-7 numbers", "no shape or place", shape=[-7])
placed("shape_negative_twice", "-1 rows of -7 numbers", "no shape or place", shape=[-1, -7])
placed("shape_true", "a size that is true", "no shape or place", shape=[7, True])
placed("shape_a_fraction", "7.0 numbers", "no shape or place", shape=[7.0])
placed("shape_that_wraps", "sizes whose product is 0 in 64 bits", "another length", shape=[1 << 32, 1 << 32])
placed("shape_too_deep", "1,000 sizes", "no shape or place", shape=[7] + [1] * 999)
placed("shape_empty", "no size", "another length", shape=[])
placed("shape_turned", "one row of 7 numbers", "must be float32", shape=[1, 7])
placed("type_unknown", "numbers of a type that nobody knows", "not read", dtype="Q4")
placed("type_bfloat16", "numbers of another type", "not read", dtype="BF16")
placed("type_a_list", "a type that is a list", "not read", dtype=["F32"])
placed("type_half", "half as wide numbers, twice as many", "must be float32", dtype="F16", shape=[14])
placed("entry_more", "a tensor that says more", "not described as", code="import os")
changed(
    "entry_a_list", "a tensor that is a list", "not described as", lambda d: d.entries.update({"output.bias": [0, 28]})
)
changed("tensor_missing", "no output bias", "follow its header", lambda d: d.entries.pop("output.bias"))
changed("tensor_more", "a tensor too many", "'extra'", lambda d: d.add("extra", "F32", [1]))
changed(
    "tensors_swapped",
    "two tensors under each other's names",
    "must be float32",
    lambda d: d.entries.update({"output.bias": d.entries["output.weight"], "output.weight": d.entries["output.bias"]}),
)
changed(
    "name_of_a_path",
    "a name that leads elsewhere",
    "'../../../etc/passwd'",
    lambda d: d.add("../../../etc/passwd", "F32", [1]),
)
changed("name_with_escapes", "a name that clears the terminal", r"\\x1b\[2J", lambda d: d.add("\x1b[2J", "F32", [1]))
changed("name_without_end", "a name of 0.9 MB", "a…'", lambda d: d.add("a" * 900_000, "F32", [1]))
other(
    "another_weight",
    "one weight that does not fit its checksum",
    GOOD[:-2] + bytes([GOOD[-2] ^ 1]) + GOOD[-1:],
    "do not match their checksum",
)
NAN, INFINITY = struct.pack("<f", float("nan")), struct.pack("<f", float("inf"))
filled("weight_nan", "a weight that is NaN", "NaN or infinite", "output.bias", NAN)
filled("weight_infinite", "a weight that is infinite", "NaN or infinite", "layers.0.weight_hh", INFINITY)
filled(
    "weight_nan_in_halves",
    "a float16 weight that is NaN",
    "NaN or infinite",
    "output.bias",
    b"\x01\x7e",
    stored_as="float16",
)
filled(
    "scale_infinite", "a scale that is infinite", "NaN or infinite", "output.weight.scale", INFINITY, stored_as="int8"
)
filled(
    "scale_negative",
    "a scale below 0",
    "no scale can be",
    "output.weight.scale",
    struct.pack("<f", -1),
    stored_as="int8",
)
filled(
    "scale_huge",
    "a scale whose weights overflow",
    "no scale can be",
    "output.weight.scale",
    struct.pack("<f", 3e38),
    stored_as="int8",
)
filled("byte_of_minus_128", "-128, which has no opposite", "below -127", "output.weight", b"\x80", stored_as="int8")
changed(
    "scale_missing",
    "a matrix of bytes without scales",
    "not those of its architecture",
    lambda d: d.entries.update({"output.weight.scaled": d.entries.pop("output.weight.scale")}),
    stored_as="int8",
)

# --- checkpoints

resumed("files_elsewhere", "files to be cut that lie elsewhere", "'files'", files={"../../../home/user/.bashrc": 0})
resumed("files_of_the_run", "the model as a file to be cut", "'files'", files={"model.safetensors": 0})
resumed("sources_none", "a text of no files", "'sources'", sources=[])
resumed("sources_standard_input", "a text that has to be typed", "'sources'", sources=[{"path": "-"}])
resumed("sources_a_word", "a text that is a word", "'sources'", sources="/etc/passwd")
resumed("position_a_word", "a position that is a word", "'position'", position="12")
resumed("history_of_lists", "a past of lists", "'history'", history={"step": [1]})
resumed("history_of_words", "a past of words", "'history'", history={"step": {"step": "1"}})
resumed("device_missing", "no device", "'device'", device=None)
changed(
    "training_null", "a past that is null", "facts are no JSON object", lambda d: d.description.update(training=None)
)
changed(
    "training_without_facts",
    "a past without the text's name",
    "lack 'corpus'",
    lambda d: d.description["facts"].pop("corpus"),
    checkpoint=True,
)
changed(
    "training_unknown",
    "a tensor that no training leaves",
    "no training leaves",
    lambda d: d.add("training.../x", "F32", [1]),
    checkpoint=True,
)
changed(
    "training_half",
    "one average without the other",
    "not all there",
    lambda d: d.entries.update({"training.x": d.entries.pop("training.optimizer.exp_avg.output.bias")}),
    checkpoint=True,
)
changed(
    "training_other_streams",
    "a state of 2 streams where 3 are read",
    "must be float32",
    lambda d: d.description["facts"]["settings"].update(batch_size=3),
    checkpoint=True,
)
changed(
    "training_more_losses",
    "more losses than steps",
    "must be float64",
    lambda d: d.description["training"].update(step=1),
    checkpoint=True,
)
filled(
    "training_nan",
    "a loss that is NaN",
    "NaN or infinite",
    "training.losses.last_epoch",
    struct.pack("<d", float("nan")),
    checkpoint=True,
)

# --- what is no safetensors file at all, renamed

other("pickle", "a pickle that runs a command", PICKLE)
other("torch_zip", "what torch.save leaves, with that pickle", zipped(archive__data__pkl=PICKLE, archive__version="3"))
other(
    "torch_old",
    "what torch.save left in 2018, with that pickle",
    b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19." + PICKLE,
)
other(
    "npz",
    "a NumPy archive of objects, with that pickle",
    zipped(a__npy=b"\x93NUMPY\x01\x00F\x00{'descr': '|O', }" + PICKLE),
)
other("npy", "a NumPy array of objects, with that pickle", b"\x93NUMPY\x01\x00\x0e\x00{'descr':'|O'}" + PICKLE)
other("keras_zip", "a Keras archive with a Lambda layer", zipped(config__json='{"class_name": "Lambda"}'))
other("hdf5", "the beginning of an HDF5 file", b"\x89HDF\r\n\x1a\n" + b"\0" * 500)
other("gguf", "a GGUF file that says it has 2^60 tensors", b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1))
other("elf", "a program", b"\x7fELF\x02\x01\x01" + b"\0" * 200)
other("gzip", "a model, compressed", gzip.compress(GOOD, mtime=0))
other("script", "a shell script", b"#!/bin/sh\ntouch OWNED\n")
other("html", "the page of a download that failed", b"<!DOCTYPE html><title>404</title>")
other("git_lfs", "a pointer of Git LFS", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n")
other("zeros", "a megabyte of zeros", b"\0" * (1 << 20))

# --- what is no regular file, or one of no regular size


@attack("a folder", "Is a directory|no regular file")
def folder(path):
    path.mkdir()


@attack("a pipe into which nobody writes", "no regular file")
def fifo(path):
    os.mkfifo(path)


@attack("a link to itself", "cannot be read")
def link_loop(path):
    path.symlink_to(path.name)


@attack("a link to nowhere", "cannot be read")
def link_to_nowhere(path):
    path.symlink_to("nowhere")


@attack("a link to endless zeros", "no regular file")
def link_to_zeros(path):
    path.symlink_to(Path("/dev/zero").resolve(strict=True))


@attack("a socket", "cannot be read|no regular file")
def a_socket(path):
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(path.parent)  # the address of a socket must be short
        try:
            made.bind(path.name)
        finally:
            os.chdir(here)


@attack("a good model and a hole of 100 GB behind it", "follow its header")
def sparse_100_GB(path):  # noqa: N802
    path.write_bytes(GOOD)
    os.truncate(path, 100 << 30)


@attack("a hole of 100 GB", "not a safetensors file")
def sparse_zeros(path):
    path.touch()
    os.truncate(path, 100 << 30)


@attack("the largest model there can be, all of it a hole", "GB of memory")
def sparse_and_honest(path):
    draft = Draft()
    sizes = draft.description["architecture"]
    sizes.update(hidden_size=16_384, num_layers=64)
    end, draft.entries = 0, {}
    for name, shape in weight_shapes(sizes).items():
        size = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        draft.entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    draft.payload = b""
    data = draft.data()
    path.write_bytes(data)
    os.truncate(path, len(data) + end)


def write(folder):
    """Write all attacks into a folder; return those that can be made here, with what is known of them."""
    made = {}
    for name, (explanation, reason, make) in ATTACKS.items():
        path = folder / f"{name}.safetensors"
        try:
            data = make(path) if make.__code__.co_argcount else make()
            if data is not None:
                path.write_bytes(data)
        except (OSError, AttributeError) as error:
            print(f"{name}: cannot be made here ({error})", file=sys.stderr)
            continue
        made[path.name] = {"explanation": explanation, "reason": reason}
    return made


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    print(json.dumps(write(target), indent=1))
