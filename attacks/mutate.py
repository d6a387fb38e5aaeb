"""Valid model files with random changes; file number N is the same on every machine."""

import json
import random
import struct

from draft import Draft, sign, whole

BASES = (
    Draft(),
    Draft("lstm", "int8"),
    Draft("gru", "float16", reset_after=False, layers=2),
    Draft("gru", "int8", hidden=17),
    Draft("gru", checkpoint=True),
    Draft("lstm", checkpoint=True, layers=2),
)
STRANGE = (
    None, True, False, 0, -1, 1, 2, 255, 65_536, 65_537, 2**31 - 1, 2**31, 2**53, 2**63, 2**64, -(2**63), 10**40,
    0.5, -0.0, 1e-320, 1e308, -1e308, float("nan"), float("inf"),
    "", "a", "-", "../../etc/passwd", "\x1b[2J", "\ud800", "\0", "a" * 5000, "__class__", "gru", "int8",
    [], {}, [[]], [1, 2], {"a": 1}, {"__import__": "os"}, [0] * 50,
)  # fmt: skip
FLOATS = (
    float("nan"),
    float("inf"),
    -float("inf"),
    1e30,
    -1e30,
    3e38,
    -3e38,
    1e34,
    -1e34,
    1e-40,
    -1e-45,
    0.0,
    -0.0,
    1e10,
    2e-38,
)
SIZES = (-1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 15, 16, 17, 20, 28, 65_536, 65_537, 2**31, 2**32, 2**40, 2**62, 2**64)


def mutated(number):
    """Return the bytes of changed file ``number``, and the names of the changes."""
    chance = random.Random(number)
    draft = chance.choice(BASES).copy()
    done = []
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3))):
        change = chance.choice(_DRAFT_CHANGES)
        change(draft, chance)
        done.append(change.__name__)
    data = serialize(draft, chance)
    for _ in range(chance.choice((0, 0, 0, 1, 1, 2)) if done else chance.randint(1, 3)):
        change = chance.choice(_BYTE_CHANGES)
        data = change(data, chance)
        done.append(change.__name__)
    return data, ", ".join(done)


def serialize(draft, chance):
    """Return the bytes of a draft, sometimes with random insertions in the JSON of the description or the header."""
    text = draft.signed_description()[65:]
    if chance.random() < 0.05:
        at = chance.randrange(len(text))
        text = (
            text[:at]
            + chance.choice(("NaN", '"', "{", "]", ",", "\\ud800", "1e999", "\n", text[:at][:200]))
            + text[at:]
        )
    header = json.dumps({"__metadata__": {"charloom": sign(text)}, **draft.entries}, separators=(",", ":"))
    if chance.random() < 0.05:
        at = chance.randrange(len(header))
        header = (
            header[:at]
            + chance.choice(("NaN", '"', "{", "]", ",", "\\ud800", "\x1b", header[at : at + 90]))
            + header[at:]
        )
    return whole(header, draft.payload)


# --- changes to a draft: checksums are recomputed, so that the checks after them are reached


def change_description(draft, chance):
    """Replace, remove or repeat a random part of the description."""
    change_somewhere(draft.description, chance)


def change_fact(draft, chance):
    """Replace a random fact, often by another value of the same type."""
    part = draft.description.get(chance.choice(("facts", "training")))
    if isinstance(part, dict) and part:
        name = chance.choice(sorted(part))
        part[name] = similar(part[name], chance)


def change_entry(draft, chance):
    """Change the position, type or shape of a random tensor."""
    if draft.entries:
        change_somewhere(draft.entries[chance.choice(sorted(draft.entries))], chance, numbers=SIZES)


def change_size(draft, chance):
    """Change a random size of the architecture, and sometimes the vocabulary."""
    sizes = draft.description.get("architecture")
    if not isinstance(sizes, dict) or not sizes:
        return
    sizes[chance.choice(sorted(sizes))] = chance.choice(SIZES)
    if chance.random() < 0.3:
        draft.description["vocabulary"] = "".join(chr(97 + i) for i in range(chance.randint(0, 20)))


def swap_tensors(draft, chance):
    """Swap the positions, shapes or types of two tensors, or all three."""
    if len(draft.entries) < 2:
        return
    first, second = (draft.entries[name] for name in chance.sample(sorted(draft.entries), 2))
    if not isinstance(first, dict) or not isinstance(second, dict):
        return
    for key in chance.choice((("data_offsets",), ("shape",), ("dtype",), ("dtype", "shape", "data_offsets"))):
        if key in first and key in second:
            first[key], second[key] = second[key], first[key]


def change_weights(draft, chance):
    """Replace up to eight weights by extreme values."""
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(draft.payload) // 4) * 4
        value = struct.pack("<f", chance.choice(FLOATS))
        draft.payload = draft.payload[:at] + value + draft.payload[at + 4 :]


def change_payload(draft, chance):
    """Flip bits of the tensors."""
    draft.payload = flip_bits(draft.payload, chance)


def change_somewhere(value, chance, numbers=STRANGE):
    """Change a random part of a nested JSON value in place."""
    while True:
        keys = sorted(value) if isinstance(value, dict) else range(len(value))
        if not keys:
            return
        key = chance.choice(list(keys))
        if isinstance(value[key], (dict, list)) and value[key] and chance.random() < 0.8:
            value = value[key]
            continue
        way = chance.randrange(5)
        if way == 0:
            del value[key]
        elif way == 1 and isinstance(value, dict):
            value[str(chance.choice(STRANGE))] = value[key]
        elif way == 2:
            value[key] = similar(value[key], chance)
        else:
            value[key] = chance.choice(numbers)
        return


def similar(value, chance):
    """Return a similar value, often of the same type."""
    if isinstance(value, str) and chance.random() < 0.7:
        return value + chance.choice(("", "x", "\u202e", "é", "字", "\x07", "\n")) if value else "x"
    if type(value) in (int, float) and chance.random() < 0.7:
        return value + chance.choice((0, 1, -1, 0.5, 1000))
    return chance.choice(STRANGE)


# --- changes to the bytes


def flip_bits(data, chance):
    """Flip one to four bits."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4) if changed else 0):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def splice(data, chance):
    """Copy, move, remove or zero a random range."""
    if len(data) < 2:
        return data
    begin, end = sorted(chance.sample(range(len(data)), 2))
    to = chance.randrange(len(data))
    return chance.choice((
        data[:begin] + data[end:],
        data[:to] + data[begin:end] + data[to:],
        data[:to] + data[begin:end] + data[to + end - begin :],
        data[:begin] + b"\0" * (end - begin) + data[end:],
    ))  # fmt: skip


def truncate(data, chance):
    """Truncate at a random position."""
    return data[: chance.randrange(len(data) + 1)]


def append_bytes(data, chance):
    """Append random bytes."""
    return data + chance.randbytes(chance.choice((1, 8, 100)))


def change_header_length(data, chance):
    """Change the stated length of the header."""
    now = int.from_bytes(data[:8], "little")
    stated = chance.choice((0, 1, 2, now - 1, now + 1, now // 2, 1 << 20, 1 << 31, 1 << 32, 1 << 63, 2**64 - 1))
    return struct.pack("<Q", max(0, stated) % 2**64) + data[8:]


_DRAFT_CHANGES = (
    change_description,
    change_description,
    change_fact,
    change_entry,
    change_size,
    swap_tensors,
    change_weights,
    change_payload,
)
_BYTE_CHANGES = (flip_bits, splice, truncate, append_bytes, change_header_length)
