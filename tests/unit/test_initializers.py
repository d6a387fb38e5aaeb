import math

import numpy as np
import pytest

from charloom.errors import SettingsError
from charloom.model.architecture import Architecture
from charloom.model.initializers import initial_weights
from support.errors import raises_code


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_initial_weights_have_the_distributions_of_the_tutorial(cell):
    """Glorot: uniform in ±sqrt(6 / (fan_in + fan_out)), where fan_out counts the rows of all gates."""
    architecture = Architecture(65, cell, 256, 128)
    weights = initial_weights(architecture, 3)
    gates = {"gru": 3, "lstm": 4}[cell]
    limits = {
        "embedding.weight": 0.05,
        "layers.0.weight_ih": math.sqrt(6 / (256 + gates * 128)),
        "layers.0.weight_hh": math.sqrt(6 / (128 + gates * 128)),
        "output.weight": math.sqrt(6 / (128 + 65)),
    }
    for name, limit in limits.items():
        assert limit * 0.99 < abs(weights[name]).max() <= limit
        assert weights[name].std() == pytest.approx(
            limit / math.sqrt(3), rel=0.03
        )  # standard deviation of a uniform distribution
    biases = weights["layers.0.bias_ih"].reshape(gates, 128)
    expected = np.zeros((gates, 128)) if cell == "gru" else np.eye(4)[1][:, None] * np.ones(128)
    np.testing.assert_array_equal(biases, expected)  # the second gate of an LSTM is the forget gate


def test_initial_weights_depend_only_on_the_seed():
    architecture = Architecture(5, "gru", 3, 4)
    first, again, other = (initial_weights(architecture, seed)["output.weight"] for seed in (1, 1, 2))
    assert (first == again).all() and (first != other).any()


def test_summary_counts_every_parameter_once():
    architecture = Architecture(65, "lstm", 256, 1024, 2)
    assert sum(row.parameters for row in architecture.summary()) == architecture.num_parameters
    assert [row.kind for row in architecture.summary()] == ["Embedding", "LSTM", "LSTM", "Dense"]


@pytest.mark.parametrize("values", [
    {"vocabulary_size": 0}, {"hidden_size": -1}, {"num_layers": 65}, {"cell": "rnn"}, {"hidden_size": 2.0},
    {"reset_after": 1}, {"embedding_size": True},
])  # fmt: skip
def test_architecture_rejects_invalid_sizes(values):
    ((name, value),) = values.items()
    expected = value if name not in ("cell", "reset_after") and isinstance(value, int) else str(value)
    with raises_code("invalid_setting", SettingsError, name=name, value=expected):
        Architecture(**{"vocabulary_size": 5, **values})
