"""Registry of malformed model files: name, explanation, expected error, and a function that creates the file.

An expected error is a code, or a code, a space, and a value that the error's data must contain. Alternatives are
separated by "|".
"""

import struct

from draft import Draft

ATTACKS = {}
"""By name: what is wrong with the file, the expected error, and a function that returns the file's bytes or, if it
takes an argument, creates the file at that path."""


def attack(explanation, expected):
    """Register the decorated function, which returns the bytes of a malformed file or creates it at a given path."""

    def register(function):
        ATTACKS[function.__name__] = (explanation, expected, function)
        return function

    return register


def changed(name, explanation, expected, change, **kind):
    """Register a valid file to which ``change`` is applied; its checksums are recomputed."""

    def make():
        draft = Draft(**kind)
        change(draft)
        return draft.data()

    ATTACKS[name] = (explanation, expected, make)


def header_of(data):
    """Return the JSON text of a file's header, and the bytes after the header."""
    length = struct.unpack("<Q", data[:8])[0]
    return data[8 : 8 + length].decode(), data[8 + length :]


def described(name, explanation, expected, **parts):
    """Register a file with changed entries of the description."""
    changed(name, explanation, expected, lambda d: d.description.update(parts))


def sized(name, explanation, expected, **sizes):
    """Register a file with changed entries of the architecture."""
    changed(name, explanation, expected, lambda d: d.description["architecture"].update(sizes))


def with_facts(name, explanation, expected, **facts):
    """Register a file with changed facts."""
    changed(name, explanation, expected, lambda d: d.description["facts"].update(facts))


def placed(name, explanation, expected, **entry):
    """Register a file with a changed header entry of the tensor ``output.bias``."""
    changed(name, explanation, expected, lambda d: d.entries["output.bias"].update(entry))


def filled(name, explanation, expected, tensor, value, **kind):
    """Register a file with changed bytes at the start of a tensor."""
    changed(name, explanation, expected, lambda d: d.put(tensor, value), **kind)


def resumed(name, explanation, expected, **facts):
    """Register a checkpoint with changed facts of its training section."""
    changed(name, explanation, expected, lambda d: d.description["training"].update(facts), checkpoint=True)


def other(name, explanation, data, expected="not_safetensors"):
    """Register a file with these bytes."""
    ATTACKS[name] = (explanation, expected, lambda: data)


GOOD = Draft().data()
HEADER, PAYLOAD = header_of(GOOD)
