"""Import of Keras models: the logits equal Keras', or the error names the unsupported layer.

Keras 3 creates most models here. ``tests/data/keras2`` contains files written by Keras 2 and the logits it computed.
"""

import json
import os
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import pytest

import charloom
from charloom.data.vocabulary.bytes import ByteVocabulary
from charloom.errors import InputError, ModelFileError
from charloom.interop.keras.importer import import_keras
from charloom.model.file.model_file import save_model
from charloom.model.reference import forward
from support.errors import cli_error, codes, raises_code
from support.paths import DATA

KERAS2 = DATA / "keras2"
LETTERS = "\n abcdefghi"
V, E, H = len(LETTERS), 5, 7
IDS = np.random.Generator(np.random.Philox(key=3)).integers(0, V, (2, 100))
layers = keras.layers

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # raised within Keras
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5"),
]


@pytest.fixture
def letters(tmp_path):
    """A text whose sorted distinct characters are ``LETTERS``."""
    path = tmp_path / "letters.txt"
    path.write_text(LETTERS * 3)
    return path


def gru(**config):
    return layers.GRU(H, **({"return_sequences": True} | config))


def lstm(**config):
    return layers.LSTM(H, **({"return_sequences": True} | config))


def sequential(*recurrent, size=V, **dense):
    return keras.Sequential([keras.Input((None,)), layers.Embedding(size, E), *recurrent, layers.Dense(size, **dense)])


def randomized(model, seed=1):
    """Give a model weights and biases that are large enough for every gate to matter."""
    draw = np.random.Generator(np.random.Philox(key=seed))
    model.set_weights([draw.normal(0, 0.5, weight.shape) for weight in model.get_weights()])
    return model


def imported_logits(path, vocabulary, ids=IDS):
    saved = import_keras(path, vocabulary).saved
    return forward(saved.architecture, saved.weights, ids)[0]


def computed(model, inputs=IDS):
    output = model(inputs)
    return keras.ops.convert_to_numpy(output[0] if isinstance(output, list) else output)


def save(model, path):
    """Save a model, or only its weights if the name ends in ``.weights.h5``."""
    (model.save_weights if ".weights" in path.name else model.save)(path)
    return path


class TestKeras3:
    @pytest.mark.parametrize("name", ["model.keras", "model.h5", "model.weights.h5"])
    @pytest.mark.parametrize(
        "recurrent",
        [
            lambda: [gru()],
            lambda: [gru(reset_after=False)],
            lambda: [gru(stateful=False, dropout=0.1, recurrent_dropout=0.1), layers.Dropout(0.2), gru()],
            lambda: [lstm()],
            lambda: [lstm(use_bias=False), layers.SpatialDropout1D(0.1), lstm(use_bias=False)],
            lambda: [lstm(unit_forget_bias=False) for _ in range(12)],
        ],
        ids=["gru", "gru-before", "two-gru", "lstm", "two-lstm", "twelve-lstm"],
    )
    def test_logits_equal_keras_over_100_characters(self, recurrent, name, tmp_path, letters):
        model = randomized(sequential(*recurrent()))
        path = save(model, tmp_path / name)
        assert np.abs(imported_logits(path, letters) - computed(model)).max() < 1e-4

    def test_stateful_model_with_a_fixed_batch_size(self, tmp_path, letters):
        stack = [keras.Input(batch_shape=(2, None)), layers.Embedding(V, E), gru(stateful=True), layers.Dense(V)]
        model = randomized(keras.Sequential(stack))
        path = save(model, tmp_path / "model.keras")
        halves = [computed(model, IDS[:, :50]), computed(model, IDS[:, 50:])]
        assert np.abs(imported_logits(path, letters) - np.concatenate(halves, 1)).max() < 1e-4

    def test_trained_model_with_optimizer_state(self, tmp_path, letters):
        model = sequential(gru())
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
        model.fit(IDS, np.roll(IDS, -1), verbose=0)
        for name in ("model.keras", "model.h5", "model.weights.h5"):
            assert np.abs(imported_logits(save(model, tmp_path / name), letters) - computed(model)).max() < 1e-4

    def test_functional_model_with_state_input_and_output(self, tmp_path, letters):
        ids, state = keras.Input((None,)), keras.Input((H,))
        hidden, after = gru(return_state=True)(layers.Embedding(V, E)(ids), initial_state=state)
        model = randomized(keras.Model([ids, state], [layers.Dense(V)(layers.Dropout(0.1)(hidden)), after]))
        for name in ("model.keras", "model.h5"):
            path = save(model, tmp_path / name)
            expected = computed(model, [IDS, np.zeros((2, H))])
            assert np.abs(imported_logits(path, letters) - expected).max() < 1e-4

    @pytest.mark.parametrize("name", ["model.keras", "model.weights.h5"])
    def test_subclassed_model_is_rebuilt_from_its_weights(self, name, tmp_path, letters):
        @keras.saving.register_keras_serializable("tests")
        class Own(keras.Model):
            def __init__(self):
                super().__init__()
                self.embedding, self.gru, self.dense = layers.Embedding(V, E), gru(return_state=True), layers.Dense(V)

            def call(self, ids):
                return self.dense(self.gru(self.embedding(ids))[0])

        model = Own()
        model(IDS)
        path = save(randomized(model), tmp_path / name)
        assert np.abs(imported_logits(path, letters) - computed(model)).max() < 1e-4
        assert codes(import_keras(path, letters).notices)[0] == "assumed_keras_defaults"

    def test_one_hot_input_and_softmax_output(self, tmp_path, letters):
        model = randomized(keras.Sequential([keras.Input((None, V)), lstm(), layers.Dense(V, activation="softmax")]))
        expected = np.log(computed(model, np.eye(V, dtype=np.float32)[IDS]))
        for name in ("model.keras", "model.weights.h5"):
            logits = imported_logits(save(model, tmp_path / name), letters)
            log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
            assert np.abs(log_probs - expected).max() < 1e-4

    def test_dense_layer_without_bias(self, tmp_path, letters):
        model = randomized(sequential(gru(), use_bias=False))
        for name in ("model.keras", "model.weights.h5"):
            assert np.abs(imported_logits(save(model, tmp_path / name), letters) - computed(model)).max() < 1e-4


class TestNumberFormats:
    """Numbers that HDF5 has no type for, and quantized models."""

    @pytest.fixture
    def policy(self):
        yield keras.config.set_dtype_policy
        keras.config.set_dtype_policy("float32")

    def test_bfloat16_weights_are_imported_exactly(self, policy, tmp_path, letters):
        policy("bfloat16")  # QR decomposition, which the default initializer needs, does not support it
        model = randomized(sequential(gru(recurrent_initializer="glorot_uniform")))
        expected = keras.ops.convert_to_numpy(keras.ops.cast(model.weights[0], "float32"))
        for name in ("model.keras", "model.h5", "model.weights.h5"):
            saved = import_keras(save(model, tmp_path / name), letters).saved
            assert np.array_equal(saved.weights["embedding.weight"], expected)
            policy("float32")
            exact = sequential(gru())
            policy("bfloat16")
            exact.set_weights([keras.ops.cast(weight, "float32") for weight in model.weights])
            assert np.abs(forward(saved.architecture, saved.weights, IDS)[0] - computed(exact)).max() < 1e-4

    @pytest.mark.parametrize("name", ["model.keras", "model.h5", "model.weights.h5"])
    @pytest.mark.filterwarnings("ignore:Layer .* does not have a .quantize.:UserWarning")
    def test_int8_weights_are_dequantized(self, name, tmp_path, letters):
        model = randomized(sequential(gru(), use_bias=name != "model.keras"))
        model.quantize("int8", config=keras.quantizers.Int8QuantizationConfig(activation_quantizer=None))
        path = save(model, tmp_path / name)
        assert np.abs(imported_logits(path, letters) - computed(model)).max() < 1e-4
        assert codes(import_keras(path, letters).notices)[0] == "weights_dequantized"

    @pytest.mark.parametrize("name", ["model.keras", "model.weights.h5"])
    @pytest.mark.parametrize("mode", ["int4", "float8"])
    @pytest.mark.filterwarnings("ignore:Layer .* does not have a .quantize.:UserWarning")
    @pytest.mark.filterwarnings("ignore:Invalid quantization mode:UserWarning")  # an Embedding has no float8 mode
    def test_other_quantizations_are_rejected(self, mode, name, tmp_path, letters):
        model = randomized(sequential(gru()))
        model.quantize(mode)
        with raises_code("quantized_keras_model", ModelFileError, accepted=["int8"]):
            import_keras(save(model, tmp_path / name), letters)


class TestKeras2:
    """Files written by Keras 2, and the logits that it computed from them."""

    expected = json.loads((KERAS2 / "expected.json").read_text())

    @pytest.fixture
    def vocabulary_file(self, tmp_path):
        path = tmp_path / "vocabulary.json"
        path.write_text(json.dumps(list("abcdefg")))
        return path

    @pytest.mark.parametrize("name", [name for name in expected["logits"] if "." in name and "one_hot" not in name])
    def test_logits_equal_keras(self, name, vocabulary_file):
        logits = imported_logits(KERAS2 / name, vocabulary_file, np.array(self.expected["ids"]))
        assert np.abs(logits - self.expected["logits"][name]).max() < 1e-5

    def test_one_hot_model_that_predicts_only_after_a_window(self, vocabulary_file):
        logits = imported_logits(KERAS2 / "one_hot_lstm.h5", vocabulary_file, np.array(self.expected["ids"]))[:, -1]
        shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        assert np.abs(shares - self.expected["logits"]["one_hot_lstm.h5"]).max() < 1e-5
        assert codes(import_keras(KERAS2 / "one_hot_lstm.h5", vocabulary_file).notices) == ["predicts_every_position"]

    @pytest.mark.parametrize("name", ["ckpt_1", "ckpt_1.index", "."])
    def test_checkpoint_without_tensorflow_is_rejected(self, name, vocabulary_file):
        with raises_code("tensorflow_missing", ModelFileError):
            import_keras(KERAS2 / name, vocabulary_file)


class TestVocabulary:
    @pytest.fixture
    def model(self, tmp_path):
        return save(randomized(sequential(gru())), tmp_path / "model.keras")

    @pytest.fixture
    def with_unk(self, tmp_path):
        """A model whose id 0 is [UNK], and its logits for the characters."""
        model = randomized(sequential(gru(), size=V + 1))
        return save(model, tmp_path / "unk.keras"), computed(model, IDS + 1)[..., 1:]

    def written(self, path, value):
        path.write_text(json.dumps(value))
        return path

    def test_text_with_one_character_fewer_implies_an_unk_id(self, with_unk, letters):
        path, expected = with_unk
        imported = import_keras(path, letters)
        assert imported.saved.vocabulary.characters == LETTERS
        assert codes(imported.notices) == ["assumed_unknown_id"]
        assert np.abs(imported_logits(path, letters) - expected).max() < 1e-4

    @pytest.mark.parametrize("form", ["list", "object", "inverted object", "object without unk"])
    def test_vocabulary_file_with_unk(self, form, with_unk, tmp_path):
        path, expected = with_unk
        forms = {
            "list": ["[UNK]", *LETTERS],
            "object": {"[UNK]": 0, **{c: i for i, c in enumerate(LETTERS, 1)}},
            "inverted object": {str(i): c for i, c in enumerate(["[UNK]", *LETTERS])},
            "object without unk": {c: i for i, c in enumerate(LETTERS, 1)},  # as by Keras' old Tokenizer
        }
        vocabulary_file = self.written(tmp_path / "vocabulary.json", forms[form])
        assert np.abs(imported_logits(path, vocabulary_file) - expected).max() < 1e-4
        assert codes(import_keras(path, vocabulary_file).notices)[-1] == "ids_without_character"

    def test_order_of_the_vocabulary_file_is_kept(self, model, tmp_path):
        vocabulary_file = self.written(tmp_path / "vocabulary.json", LETTERS[::-1])
        with raises_code("invalid_vocabulary_file", InputError, path=str(vocabulary_file)):
            import_keras(model, vocabulary_file)
        vocabulary_file = self.written(tmp_path / "vocabulary.json", list(LETTERS[::-1]))
        assert import_keras(model, vocabulary_file).saved.vocabulary.characters == LETTERS[::-1]

    def test_vocabulary_of_all_bytes(self, tmp_path):
        path = save(sequential(gru(), size=256), tmp_path / "bytes.keras")
        vocabulary_file = self.written(tmp_path / "vocabulary.json", list(range(256)))
        assert import_keras(path, vocabulary_file).saved.vocabulary == ByteVocabulary()

    def test_vocabulary_of_a_charloom_model(self, model, letters, tmp_path):
        save_model(tmp_path / "first.safetensors", import_keras(model, letters).saved)
        again = import_keras(model, tmp_path / "first.safetensors")
        assert again.saved.vocabulary.characters == LETTERS

    @pytest.mark.parametrize(
        ("value", "quoted"),
        [
            (["ab", *LETTERS[1:]], "'ab'"),
            ([7, *LETTERS[1:]], "'7'"),
            (["a", *LETTERS[1:]], "'a'"),
            ({"a": -1}, ""),
            ({"a": 0, "b": 0}, ""),
            ("abc", ""),
        ],
    )
    def test_invalid_vocabulary_is_rejected(self, value, quoted, model, tmp_path):
        with raises_code("invalid_vocabulary_file", InputError) as caught:
            import_keras(model, self.written(tmp_path / "vocabulary.json", value))
        assert quoted in str(caught.value)

    @pytest.mark.parametrize(
        ("data", "code"),
        [(b"[", "invalid_json"), (b"\xff\xfe\xfa", "not_utf8"), (b"[" * 9 + b"]" * 9, "json_too_deep")],
    )
    def test_invalid_vocabulary_file_is_rejected(self, data, code, model, tmp_path):
        path = tmp_path / "vocabulary.json"
        path.write_bytes(data)
        with raises_code(code, InputError) as caught:
            import_keras(model, path)
        assert str(path) in str(caught.value)

    def test_vocabulary_of_another_size_is_rejected(self, model, tmp_path):
        (tmp_path / "other.txt").write_text("abc" * 9)
        for vocabulary in (tmp_path / "other.txt", self.written(tmp_path / "vocabulary.json", ["a", "b"])):
            with raises_code("vocabulary_mismatch", InputError, ids=11):
                import_keras(model, vocabulary)

    def test_vocabulary_is_required(self, model):
        with raises_code("missing_vocabulary", InputError, ids=11):
            import_keras(model)

    def test_text_with_a_high_loss_gives_a_notice(self, model, tmp_path, letters):
        assert not import_keras(model, letters).notices  # too short to judge
        (tmp_path / "long.txt").write_text(LETTERS * 20 + "a" * 500)
        assert codes(import_keras(model, tmp_path / "long.txt").notices) == ["vocabulary_doubtful"]


UNSUPPORTED = "unsupported_layer"


class TestRejected:
    """Errors name the unsupported layer."""

    @pytest.mark.parametrize(
        ("stack", "code", "layer"),
        [
            (lambda: [layers.Embedding(V, E), layers.Bidirectional(gru(), name="x"), layers.Dense(V)],
             UNSUPPORTED, "x"),
            (lambda: [layers.Embedding(V, E), gru(recurrent_activation="relu", name="x"), layers.Dense(V)],
             UNSUPPORTED, "x"),
            (lambda: [layers.Embedding(V, E), gru(activation="relu", name="x"), layers.Dense(V)], UNSUPPORTED, "x"),
            (lambda: [layers.Embedding(V, E), gru(go_backwards=True, name="x"), layers.Dense(V)], UNSUPPORTED, "x"),
            (lambda: [layers.Embedding(V, E, mask_zero=True, name="x"), gru(), layers.Dense(V)], UNSUPPORTED, "x"),
            (lambda: [layers.Embedding(V, E), layers.LayerNormalization(name="x"), gru(), layers.Dense(V)],
             UNSUPPORTED, "x"),
            (lambda: [layers.Embedding(V, E), gru(), layers.Dense(9, "relu", name="x"), layers.Dense(V)],
             UNSUPPORTED, "x"),
            (lambda: [layers.Embedding(V, E), gru(), layers.Dense(9), layers.Dense(V, name="x")], UNSUPPORTED, "x"),
            (lambda: [layers.Embedding(V, E), layers.Dense(V, name="x")], UNSUPPORTED, "x"),
            (lambda: [layers.Embedding(V, E), layers.SimpleRNN(H, name="x"), layers.Dense(V)], UNSUPPORTED, "x"),
            (lambda: [layers.Embedding(V, E), gru(), layers.Lambda(lambda x: x, name="x"), layers.Dense(V)],
             UNSUPPORTED, "x"),
            (lambda: [layers.Embedding(V, E), gru(), layers.Dense(9, name="x")], "keras_weights_mismatch", "x"),
            (lambda: [layers.Embedding(V, E), gru()], "unsupported_architecture", None),
            (lambda: [layers.Embedding(V, E), gru(), layers.LSTM(H, return_sequences=True, name="x"), layers.Dense(V)],
             "unsupported_architecture", "x"),
            (lambda: [layers.Embedding(V, E), gru(), layers.GRU(9, return_sequences=True, name="x"), layers.Dense(V)],
             "unsupported_architecture", "x"),
            (lambda: [layers.Embedding(V, E), gru(), gru(reset_after=False), layers.Dense(V)],
             "unsupported_architecture", None),
        ],
    )  # fmt: skip
    def test_unsupported_layer(self, stack, code, layer, tmp_path, letters):
        model = keras.Sequential([keras.Input((None,)), *stack()])
        path = save(model, tmp_path / "model.keras")
        with raises_code(code, ModelFileError, layer=layer) as caught:
            import_keras(path, letters)
        assert str(path) in str(caught.value)

    def test_branching_graph_is_rejected(self, tmp_path, letters):
        ids = keras.Input((None,))
        table = layers.Embedding(V, E)(ids)
        hidden = layers.Add(name="sum")([gru()(table), gru()(table)])
        path = save(keras.Model(ids, layers.Dense(V)(hidden)), tmp_path / "model.keras")
        with raises_code("unsupported_layer", ModelFileError):
            import_keras(path, letters)

    def test_gru_weights_without_bias_and_configuration_are_rejected(self, tmp_path, letters):
        model = randomized(sequential(gru(use_bias=False)))
        with raises_code("unknown_reset_after", ModelFileError):
            import_keras(save(model, tmp_path / "model.weights.h5"), letters)
        assert np.abs(imported_logits(save(model, tmp_path / "m.keras"), letters) - computed(model)).max() < 1e-4

    def test_nonfinite_weights_are_rejected(self, tmp_path, letters):
        model = sequential(gru())
        weights = model.get_weights()
        weights[0][0, 0] = np.nan
        model.set_weights(weights)
        path = save(model, tmp_path / "model.keras")
        with raises_code("nonfinite_weights", ModelFileError) as caught:
            import_keras(path, letters)
        assert caught.value.data["layer"].startswith("embedding")


class TestCommand:
    def test_imported_model_generates_text(self, cli, letters, tmp_path):
        save(randomized(sequential(lstm())), tmp_path / "model.keras")
        done = cli("import", "model.keras", "--from", "keras", "--vocabulary", letters, "-o", "m.safetensors", "--json")
        assert done.code == 0, done.err
        assert done.json["parameters"] == charloom.load(tmp_path / "m.safetensors").architecture.num_parameters
        text = cli("generate", "m.safetensors", "-p", "abc", "-n", "20", "--seed", "1").out
        assert text.startswith("abc") and len(text.rstrip("\n")) >= 23 - text.count("\n")
        facts = cli("info", "m.safetensors", "--json").json
        assert facts["imported_from"].startswith("Keras 3")
        assert (facts["architecture"]["cell"], facts["architecture"]["hidden_size"]) == ("lstm", H)

    @pytest.mark.parametrize(
        ("arguments", "code"),
        [
            (["none.keras"], "model_not_found"),
            (["letters.txt"], "not_a_keras_file"),
            (["."], "tensorflow_missing"),
            (["letters.txt", "-o", "letters.txt"], "file_exists"),
            (["letters.txt", "-o", "no/where"], "folder_not_found"),
        ],
    )
    def test_invalid_input_is_rejected(self, arguments, code, quick_cli, letters):
        output = [] if "-o" in arguments else ["-o", "m.safetensors"]
        done = quick_cli("import", *arguments, *output, "--from", "keras", "--vocabulary", "letters.txt", "--json")
        cli_error(done, code)
        assert not Path("m.safetensors").exists()
