"""Bad frames: the length of the header, its JSON, and what is cut off or put behind."""

import struct

from draft import whole
from registry import GOOD, HEADER, PAYLOAD, other

other("empty", "not one byte", b"")
other("one_byte", "one byte", b"\x08")
other("length_alone", "a header's length and nothing else", struct.pack("<Q", 2))
other("length_zero", "a header of no length", struct.pack("<Q", 0) + b"{}")
other("length_beyond_the_end", "a header longer than the file", struct.pack("<Q", len(GOOD)) + GOOD[8:])
other("length_of_all_bits", "a header of 2^64 - 1 bytes", b"\xff" * 8 + GOOD[8:])
other("length_of_4_GB", "a header of 4 GB", struct.pack("<Q", 1 << 32) + GOOD[8:])
other("length_too_short", "a header one byte longer than said", struct.pack("<Q", len(HEADER) - 9) + GOOD[8:])
other("cut_in_the_header", "the first 300 bytes", GOOD[:300])
other("cut_in_the_tensors", "the last byte is gone", GOOD[:-1], "file_size_mismatch")
other("a_byte_too_many", "one byte behind the last tensor", GOOD + b"\0", "file_size_mismatch")
other("long_header", "a header of 3 MB of spaces", whole(HEADER + " " * (3 << 20), PAYLOAD), "header_too_large 2097152")
other("no_json", "a header that is no JSON", whole("{not json}", PAYLOAD), "invalid_json")
other("no_utf8", "a header that is not UTF-8", whole(b'{"\xff\xfe": 1}', PAYLOAD), "header_not_utf8")
other("utf16", "a header in UTF-16", whole(HEADER.encode("utf-16-le"), PAYLOAD))
other("byte_order_mark", "a header behind a byte order mark", whole("\ufeff" + HEADER, PAYLOAD))
other("leading_space", "a header that begins with a space", whole(" " + HEADER, PAYLOAD))
other("newline_behind", "a header that ends with a newline", whole(HEADER.rstrip() + "\n", PAYLOAD))
other("a_list", "a header that is a list", whole("[1, 2, 3]", PAYLOAD))
other("two_objects", "a header of two objects", whole(HEADER.rstrip() + "{}", PAYLOAD), "invalid_json")
other(
    "nan_in_json", "a header with NaN", whole(HEADER.replace('"shape":[7]', '"shape":[NaN]'), PAYLOAD), "invalid_json"
)
other("infinity_in_json", "a header with 1e999", whole(HEADER.replace("[7]", "[1e999]"), PAYLOAD), "number_too_large")
other(
    "huge_whole_number",
    "a size of 4,000 digits",
    whole(HEADER.replace("[7]", f"[{'9' * 4000}]"), PAYLOAD),
    "invalid_json",
)
other(
    "deep_lists",
    "100,000 lists within each other",
    whole('{"a":' + "[" * 100_000 + "]" * 100_000 + "}", b""),
    "too_many_values",
)
other("rather_deep", "900 lists within each other", whole('{"a":' + "[" * 900 + "]" * 900 + "}", b""), "json_too_deep")
other(
    "deeper_than_python",
    "20,000 lists within each other",
    whole('{"a":' + "[" * 20_000 + "]" * 20_000 + "}", b""),
    "invalid_json",
)
other("many_values", "600,000 empty lists", whole('{"a":[' + "[]," * 600_000 + "[]]}", b""), "too_many_values")
NOTHING = {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(10_000)}
other(
    "many_tensors",
    "10,000 tensors of nothing",
    whole({"__metadata__": {"charloom": "x"}} | NOTHING, b""),
    "too_many_tensors 1280",
)
other(
    "duplicate_tensors",
    "one name for two tensors",
    whole(HEADER.replace('"output.bias":', '"output.weight":'), PAYLOAD),
    "duplicate_key",
)
other(
    "duplicate_metadata",
    "two descriptions, of which readers take another",
    whole(HEADER.replace("{", '{"__metadata__":{"charloom":"x"},', 1), PAYLOAD),
    "duplicate_key",
)
