import numpy as np
import pytest

from charloom.report.features import features
from charloom.report.neurons import correlations, name_neurons

PROSE = '"Go," he said. "No (never)!"\n\nTHE END of it\'s 12.\n  indented\n'


def marked(text, values, threshold=0.5):
    return "".join(c for c, value in zip(text, values, strict=True) if value > threshold)


def test_inside_quotes():
    assert marked(PROSE, features(PROSE)["inside quotes"]) == '"Go,"No (never)!'
    nested = "He said “who is ‘it’?” and left.\nx = 'a' + \"b'c\"\n"
    assert marked(nested, features(nested)["inside quotes"]) == "“who is ‘it’?'a\"b'c"


def test_an_unclosed_quote_ends_with_its_paragraph():
    text = '"never closed\nstill\n\noutside "in"\n'
    assert marked(text, features(text)["inside quotes"]) == '"never closed\nstill\n"in'


def test_positions_and_bracket_depth():
    text = "ab cd\n  e(f[g])h\n"
    result = features(text)
    assert result["position in the line"].tolist() == [1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0]
    assert result["position in the word"].tolist() == [1, 2, 0, 1, 2, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 1, 0]
    assert result["bracket depth"].tolist() == [0] * 9 + [1, 1, 2, 2, 1, 0, 0, 0]
    assert result["indentation"].tolist() == [0] * 6 + [1, 2] + [2] * 8 + [0]
    assert marked(text, result["word ends next"]) == "bdefgh"
    assert marked(text, result["line ends next"]) == "dh"
    assert marked(text, result["after a newline"]) == "\n\n"


def test_capitals_vowels_and_comments():
    text = "ROMEO: I am.\n# note (x)\nNASA\n"
    assert marked(text, features(text)["run of capitals"]) == "OMEOASA"
    assert marked(text, features(text)["capitals"]) == "ROMEOINASA"
    assert marked(text, features(text)["vowels"]) == "OEOIaoeAA"
    assert marked(text, features(text)["inside a comment"]) == "# note (x)"


def test_paragraphs_and_their_headings():
    text = "First Lord:\nSay: what?\n\nROMEO:\nNo.\n\nHe: yes\n"
    result = features(text)
    assert marked(text, result["heading of a paragraph"]) == "First LordROMEO"
    assert result["position in the paragraph"].tolist() == [*range(1, 24), *range(12), *range(9)]
    assert marked("É, ß è Ω я", features("É, ß è Ω я")["vowels"]) == "ÉèΩя"


def test_constant_features_are_left_out():
    assert "bracket depth" not in features("no brackets here\n")
    assert set(features("aaaa")) == {f"position in the {unit}" for unit in ("line", "paragraph", "word")}


def test_correlations_equal_numpy():
    rng = np.random.default_rng(0)
    states, columns = rng.normal(size=(9000, 5)), rng.normal(size=(9000, 3))
    columns[:, 0] += 2 * states[:, 1]
    states[:, 4] = 0.25
    result = correlations(states, columns)
    expected = np.corrcoef(states[:, :4].T, columns.T)[4:, :4]
    assert result[:, :4] == pytest.approx(expected, abs=1e-9) and not result[:, 4].any()


def test_a_neuron_that_follows_a_feature_is_named_and_chance_is_not():
    rng = np.random.default_rng(1)
    follows, nothing = (rng.random((2, 4000)) > 0.5).astype(float)
    states = rng.normal(size=(4000, 64)).astype(np.float16)
    states[:, 17] = 0.3 * states[:, 17] - follows
    named = {neuron.feature: neuron for neuron in name_neurons(states, {"follows": follows, "nothing": nothing})}
    assert named["follows"].neuron == 17 and named["follows"].correlation < -0.8 and named["follows"].is_clear
    assert not named["nothing"].is_clear
    assert named["follows"].search_correlation == pytest.approx(named["follows"].correlation, abs=0.05)


def test_a_correlation_must_hold_on_the_second_half():
    """A neuron that follows a feature on the first half only is not clear."""
    rng = np.random.default_rng(2)
    feature = (rng.random(2000) > 0.5).astype(float)
    states = rng.normal(size=(2000, 8))
    states[:1000, 3] = feature[:1000]
    (neuron,) = name_neurons(states, {"feature": feature})
    assert neuron.neuron == 3 and neuron.search_correlation > 0.99 and not neuron.is_clear


def test_no_neurons_are_named_without_enough_data():
    assert name_neurons(np.zeros((3, 4)), {"x": np.arange(3.0)}) == []
    assert name_neurons(np.zeros((9, 4)), {}) == []
    assert name_neurons(np.zeros((9, 4)), {"x": np.arange(9.0)}) == []
