"""Bad model files by their names: what is wrong with each, why charloom refuses it, and what makes it."""

import struct

from draft import Draft

ATTACKS = {}
"""By its name: what is wrong with a file, words of the reason why it is refused, and a function that returns its bytes,
or makes it at the path it is given."""


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


GOOD = Draft().data()
HEADER, PAYLOAD = header_of(GOOD)
