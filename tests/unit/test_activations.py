import numpy as np
import pytest

from charloom.errors import CorpusError, SettingsError, UnknownCharacterError
from charloom.inference.model import Model
from charloom.model.reference import gru_step, lstm_step
from support.errors import raises_code
from support.models import tiny_saved

MODELS = {cell: Model(tiny_saved(cell)) for cell in ("gru", "lstm")}
TEXT = "abc de\nabcab" * 60  # longer than one block


def layer(model, number):
    prefix = f"layers.{number}."
    weights = model.saved.weights
    return {name.removeprefix(prefix): w.astype(np.float64) for name, w in weights.items() if name.startswith(prefix)}


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_hidden_states_and_cells_follow_the_equations(cell):
    """Compare the first layer with the float64 reference cells."""
    model, result = MODELS[cell], MODELS[cell].activations(TEXT)
    weights, a = layer(model, 0), model.architecture
    h, c = np.zeros((1, a.hidden_size)), np.zeros((1, a.hidden_size))
    for t, i in enumerate(model.vocabulary.encode(TEXT)):
        x = model.saved.weights["embedding.weight"][[i]].astype(np.float64)
        if cell == "gru":
            h = gru_step(x, h, weights, a.reset_after)
        else:
            h, c = lstm_step(x, h, c, weights)
            assert result.cell[t, 0] == pytest.approx(c[0], abs=1e-5)
        assert result.hidden[t, 0] == pytest.approx(h[0], abs=1e-5)
    gates = 3 if cell == "gru" else 4
    assert result.hidden.shape == (len(TEXT), a.num_layers, a.hidden_size)
    assert result.gates.shape == (len(TEXT), a.num_layers, gates, a.hidden_size)
    assert (result.cell is None) == (cell == "gru")


def test_a_gru_interpolates_by_its_update_gate():
    """h' = (1 - z) n + z h holds between consecutive characters."""
    result = MODELS["gru"].activations(TEXT)
    _, z, n = np.moveaxis(result.gates, 2, 0)
    assert result.hidden[1:] == pytest.approx((1 - z[1:]) * n[1:] + z[1:] * result.hidden[:-1], abs=1e-5)


def test_top_predictions_are_sorted_by_probability():
    model = MODELS["lstm"]
    top3, top7 = model.top_guesses(TEXT, 3), model.top_guesses(TEXT, 7)
    assert top7.probabilities.sum(axis=1) == pytest.approx(np.ones(len(TEXT)))
    assert (np.diff(top7.probabilities, axis=1) <= 0).all()
    assert top3.characters == tuple(row[:3] for row in top7.characters)
    assert {"".join(sorted(row)) for row in top7.characters} == {"".join(sorted(model.vocabulary.characters))}


def test_temperature_zero_generates_the_top_prediction():
    model = MODELS["gru"]
    text = model.generate("ab", 200, 0, precision="float32")
    assert [row[0] for row in model.top_guesses(text, 1).characters[1:-1]] == list(text[2:])


def test_invalid_arguments_are_rejected():
    model = MODELS["gru"]
    for k in (0, 8, 2.0):
        with raises_code("invalid_setting", SettingsError, name="k", value=k, minimum=1, maximum=7):
            model.top_guesses("abc", k)
    for method in (model.top_guesses, model.activations):
        with raises_code("text_too_short", CorpusError, characters=0, minimum=1):
            method("")
        with pytest.raises(UnknownCharacterError):
            method("abX")


def test_a_model_has_an_html_representation():
    page = Model(tiny_saved(corpus="<b>"))._repr_html_()
    assert "hidden_size" in page and "&lt;b&gt;" in page and "<b>" not in page
