"""Files with an invalid description: checksum, keys, vocabulary, architecture and facts."""

from draft import Draft, sign, whole
from registry import PAYLOAD, changed, described, other, sized, with_facts

other("no_metadata", "a plain safetensors file", whole(Draft().entries, PAYLOAD), "not_a_charloom_model")
other(
    "metadata_is_a_number",
    "metadata that is a number",
    whole({"__metadata__": 5}, b""),
    "not_a_charloom_model",
)
other(
    "metadata_is_a_list",
    "metadata that is a list",
    whole({"__metadata__": ["charloom"]}, b""),
    "not_a_charloom_model",
)
other(
    "metadata_of_numbers",
    "a description that is a number",
    whole({"__metadata__": {"charloom": 5}}, b""),
    "not_a_charloom_model",
)
other(
    "more_metadata",
    "a second metadata entry",
    whole({"__metadata__": {"charloom": "x", "code": "import os"}}, b""),
    "not_a_charloom_model",
)
other(
    "wrong_checksum",
    "a wrong checksum of the description",
    Draft().data("0" * 64 + Draft().signed_description()[64:]),
    "checksum_mismatch header",
)
other(
    "no_checksum",
    "a description without a checksum",
    Draft().data(Draft().signed_description()[65:]),
    "checksum_mismatch header",
)
other("empty_description", "an empty description", Draft().data(""), "checksum_mismatch header")
other("description_is_a_list", "a description that is a list", Draft().data(sign("[]")), "not_an_object description")
other(
    "description_is_deep",
    "a description with 900 nested lists",
    Draft().data(sign('{"a":' + "[" * 900 + "]" * 900 + "}")),
    "json_too_deep",
)
other("lone_surrogate", "a lone surrogate in the description", Draft().data(sign('{"\ud800": 1}')), "lone_surrogate")
other(
    "duplicate_keys",
    "a description with two vocabularies",
    Draft().data(sign(Draft().signed_description()[65:].replace('"vocabulary"', '"vocabulary": "abc", "vocabulary"'))),
    "duplicate_key",
)
other(
    "nan_in_the_description",
    "a loss that is NaN",
    Draft().data(sign(Draft().signed_description()[65:].replace("1.625", "NaN"))),
    "invalid_json",
)
described("version_2", "format version 2", "unsupported_format_version 2", format_version=2)
described(
    "version_true",
    "format version true, which equals 1 in Python",
    "unsupported_format_version True",
    format_version=True,
)
described("unknown_key", "an unknown key", "unexpected_keys code", code="import os")
changed("missing_key", "missing facts", "unexpected_keys facts", lambda d: d.description.pop("facts"))
described("weights_in_3_bits", "an unknown type of weights", "invalid_header_entry weights", weights="int3")
described("weights_in_a_list", "a type of weights that is a list", "invalid_header_entry weights", weights=["float32"])
described(
    "sums_are_a_list", "checksums that are a list", "invalid_header_entry tensor_sha256", tensor_sha256=["0" * 64]
)
described("sums_are_missing", "no checksums", "invalid_header_entry tensor_sha256", tensor_sha256={})
described("vocabulary_empty", "an empty vocabulary", "invalid_vocabulary str", vocabulary="")
described("vocabulary_a_number", "a vocabulary that is a number", "invalid_vocabulary", vocabulary=7)
described("vocabulary_a_list", "a vocabulary that is a list", "invalid_vocabulary", vocabulary=list("\n abcde"))
described("vocabulary_twice", "a duplicate character", "duplicate_character d", vocabulary="\n abcdd")
described(
    "vocabulary_short", "a vocabulary smaller than the embedding", "vocabulary_size_mismatch 5", vocabulary="\n abc"
)
described("unit_unknown", "an unknown unit", "invalid_header_entry unit", unit="word")
described("unit_a_list", "a unit that is a list", "invalid_header_entry unit", unit=["byte"])
described("unit_byte", "a byte model without all bytes", "invalid_byte_vocabulary", unit="byte")
described("lines_a_number", "lines given as a number", "invalid_header_entry lines", lines=1)
described(
    "lines_without_line_feed",
    "a model of lines without a line feed in its vocabulary",
    "no_line_feed_in_vocabulary",
    lines=True,
    vocabulary="- abcde",
)
described(
    "vocabulary_lone_surrogate", "a lone surrogate in the vocabulary", "lone_surrogate", vocabulary="\n abcd\udc80"
)
changed(
    "characters_65537",
    "65,537 characters",
    "invalid_setting 65536",
    lambda d: (
        d.description.update(vocabulary="".join(map(chr, range(0x10000, 0x20001)))),
        d.description["architecture"].update(vocabulary_size=65_537),
    ),
)
sized("hidden_huge", "a hidden size of one billion", "invalid_setting hidden_size", hidden_size=10**9)
sized("layers_huge", "one billion layers", "invalid_setting num_layers", num_layers=10**9)
sized("layers_64", "64 layers, but tensors for one", "unexpected_tensors", num_layers=64)
sized("hidden_negative", "a hidden size of -5", "invalid_setting hidden_size", hidden_size=-5)
sized("hidden_true", "a hidden size of true, which equals 1 in Python", "invalid_setting hidden_size", hidden_size=True)
sized("hidden_a_fraction", "a hidden size of 5.0", "invalid_setting hidden_size", hidden_size=5.0)
sized("hidden_a_word", "a hidden size that is a long string", "invalid_setting hidden_size", hidden_size="5" * 100_000)
sized("hidden_other", "a hidden size of 6, but weights for 5", "tensor_mismatch float32", hidden_size=6)
sized("embedding_zero", "an embedding size of 0", "invalid_setting embedding_size", embedding_size=0)
sized("cell_unknown", "an unknown cell", "invalid_setting cell", cell="__import__")
sized("cell_a_list", "a cell that is a list", "invalid_header_entry architecture", cell=["gru"])
sized("cell_other", "the weights of a different cell", "unexpected_tensors", cell="lstm")
sized("reset_a_number", "reset_after given as 1", "invalid_setting reset_after", reset_after=1)
sized("architecture_more", "an unknown size", "unexpected_keys architecture", **{"\x1b[31m": 1})
changed(
    "architecture_less", "a missing cell", "unexpected_keys cell", lambda d: d.description["architecture"].pop("cell")
)
described("architecture_a_list", "an architecture that is a list", "not_an_object architecture", architecture=[1, 2])

# --- facts

described("facts_a_list", "facts that are a list", "not_an_object", facts=[])
with_facts("settings_a_word", "settings that are a string", "invalid_fact settings", settings="batch_size=2")
with_facts("settings_nested", "a setting that is a list", "invalid_fact settings", settings={"batch_size": [2]})
with_facts(
    "settings_holding_out_all", "a validation fraction of 2", "invalid_fact settings", settings={"val_fraction": 2}
)
with_facts("step_a_word", "a step that is a string", "invalid_fact step", step="12")
with_facts("step_true", "a step that is true", "invalid_fact step", step=True)
with_facts("loss_a_word", "a loss that is a string", "invalid_fact val_loss", val_loss="low")
with_facts("loss_a_list", "a loss that is a list", "invalid_fact train_loss", train_loss=[1.5])
with_facts(
    "corpus_with_escapes", "a name with terminal escapes", "invalid_fact corpus", corpus="\x1b[2J\x1b]0;owned\x07"
)
with_facts("corpus_of_a_megabyte", "a name of 1 MB", "invalid_fact corpus", corpus="a" * (1 << 20))
with_facts("corpus_backwards", "a name with a right-to-left override", "invalid_fact corpus", corpus="\u202egpj.exe")
with_facts("recipe_an_object", "a recipe that is an object", "invalid_fact recipe", recipe={"__class__": "os"})
with_facts(
    "characters_negative", "a negative number of characters", "invalid_fact corpus_characters", corpus_characters=-1
)
