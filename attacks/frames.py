"""Files with an invalid frame: header length, header JSON, truncation and trailing bytes."""

import struct

from draft import whole
from registry import GOOD, HEADER, PAYLOAD, other

other("empty", "an empty file", b"")
other("one_byte", "one byte", b"\x08")
other("only_header_length", "only the length of the header", struct.pack("<Q", 2))
other("length_zero", "a header of length 0", struct.pack("<Q", 0) + b"{}")
other("length_beyond_the_end", "a header longer than the file", struct.pack("<Q", len(GOOD)) + GOOD[8:])
other("length_of_all_bits", "a header of 2^64 - 1 bytes", b"\xff" * 8 + GOOD[8:])
other("length_of_4_GB", "a header of 4 GB", struct.pack("<Q", 1 << 32) + GOOD[8:])
other("length_too_short", "a header longer than its stated length", struct.pack("<Q", len(HEADER) - 9) + GOOD[8:])
other("cut_in_the_header", "a file truncated in the header", GOOD[:300])
other("cut_in_the_tensors", "a file without its last byte", GOOD[:-1], "file_size_mismatch")
other("a_byte_too_many", "one byte after the last tensor", GOOD + b"\0", "file_size_mismatch")
other("long_header", "a header of 3 MB of spaces", whole(HEADER + " " * (3 << 20), PAYLOAD), "header_too_large 2097152")
other("not_json", "a header that is not JSON", whole("{not json}", PAYLOAD), "invalid_json")
other("no_utf8", "a header that is not UTF-8", whole(b'{"\xff\xfe": 1}', PAYLOAD), "header_not_utf8")
other("utf16", "a header in UTF-16", whole(HEADER.encode("utf-16-le"), PAYLOAD))
other("byte_order_mark", "a header after a byte order mark", whole("\ufeff" + HEADER, PAYLOAD))
other("leading_space", "a header that begins with a space", whole(" " + HEADER, PAYLOAD))
other("trailing_newline", "a header that ends with a newline", whole(HEADER.rstrip() + "\n", PAYLOAD))
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
    "100,000 nested lists",
    whole('{"a":' + "[" * 100_000 + "]" * 100_000 + "}", b""),
    "too_many_values",
)
other("nested_lists_900", "900 nested lists", whole('{"a":' + "[" * 900 + "]" * 900 + "}", b""), "json_too_deep")
other(
    "deeper_than_python",
    "20,000 nested lists",
    whole('{"a":' + "[" * 20_000 + "]" * 20_000 + "}", b""),
    "invalid_json",
)
other("many_values", "600,000 empty lists", whole('{"a":[' + "[]," * 600_000 + "[]]}", b""), "too_many_values")
EMPTY_TENSORS = {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(10_000)}
other(
    "many_tensors",
    "10,000 empty tensors",
    whole({"__metadata__": {"charloom": "x"}} | EMPTY_TENSORS, b""),
    "too_many_tensors 1280",
)
other(
    "duplicate_tensors",
    "two tensors with the same name",
    whole(HEADER.replace('"output.bias":', '"output.weight":'), PAYLOAD),
    "duplicate_key",
)
other(
    "duplicate_metadata",
    "two descriptions, of which readers choose different ones",
    whole(HEADER.replace("{", '{"__metadata__":{"charloom":"x"},', 1), PAYLOAD),
    "duplicate_key",
)
