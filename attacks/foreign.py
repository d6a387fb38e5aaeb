"""Files of other formats with a model file's name, and special files: folders, pipes, links and sparse files."""

import gzip
import io
import os
import socket
import struct
import zipfile
from pathlib import Path

from draft import Draft, weight_shapes
from registry import GOOD, attack, other

# unpickling this runs os.system("touch OWNED"); written by hand, because charloom does not use pickle
PICKLE = b"\x80\x02cos\nsystem\nX\x0b\x00\x00\x00touch OWNED\x85R."


def zipped(**files):
    """Return a zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "/"), data)
    return buffer.getvalue()


other("pickle", "a pickle that runs a command", PICKLE)
other("torch_zip", "a PyTorch archive with that pickle", zipped(archive__data__pkl=PICKLE, archive__version="3"))
other(
    "torch_old",
    "a PyTorch file in the format of 2018 with that pickle",
    b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19." + PICKLE,
)
other(
    "npz",
    "a NumPy archive of objects, with that pickle",
    zipped(a__npy=b"\x93NUMPY\x01\x00F\x00{'descr': '|O', }" + PICKLE),
)
other("npy", "a NumPy array of objects, with that pickle", b"\x93NUMPY\x01\x00\x0e\x00{'descr':'|O'}" + PICKLE)
other("keras_zip", "a Keras archive with a Lambda layer", zipped(config__json='{"class_name": "Lambda"}'))
other("hdf5", "the start of an HDF5 file", b"\x89HDF\r\n\x1a\n" + b"\0" * 500)
other("gguf", "a GGUF file with 2^60 tensors", b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1))
other("elf", "an ELF program", b"\x7fELF\x02\x01\x01" + b"\0" * 200)
other("gzip", "a gzip-compressed model", gzip.compress(GOOD, mtime=0))
other("script", "a shell script", b"#!/bin/sh\ntouch OWNED\n")
other("html", "the HTML page of a failed download", b"<!DOCTYPE html><title>404</title>")
other("git_lfs", "a Git LFS pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n")
other("zeros", "a megabyte of zeros", b"\0" * (1 << 20))

# --- special files and sparse files


@attack("a folder", "unreadable_file|not_a_regular_file")
def folder(path):
    path.mkdir()


@attack("a pipe without a writer", "not_a_regular_file")
def fifo(path):
    os.mkfifo(path)


@attack("a link to itself", "unreadable_file")
def link_loop(path):
    path.symlink_to(path.name)


@attack("a broken link", "unreadable_file")
def link_to_nowhere(path):
    path.symlink_to("nowhere")


@attack("a link to /dev/zero", "not_a_regular_file")
def link_to_zeros(path):
    path.symlink_to(Path("/dev/zero").resolve(strict=True))


@attack("a socket", "unreadable_file|not_a_regular_file")
def a_socket(path):
    with socket.socket(socket.AF_UNIX) as unix_socket:
        here = Path.cwd()
        os.chdir(path.parent)  # the address of a socket must be short
        try:
            unix_socket.bind(path.name)
        finally:
            os.chdir(here)


@attack("a valid model followed by a hole of 100 GB", "file_size_mismatch")
def sparse_100_GB(path):  # noqa: N802
    path.write_bytes(GOOD)
    os.truncate(path, 100 << 30)


@attack("a hole of 100 GB", "not_safetensors")
def sparse_zeros(path):
    path.touch()
    os.truncate(path, 100 << 30)


@attack("the largest valid model, as a sparse file", "model_too_large")
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
