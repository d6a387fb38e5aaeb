"""Bad descriptions of a model: its checksum, its keys, its vocabulary, its sizes, and what it tells of its past."""

from draft import Draft, sign, whole
from registry import PAYLOAD, changed, described, other, sized, told

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

# --- its past

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
