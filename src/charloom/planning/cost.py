"""What a training costs: arithmetic operations and memory, counted from its settings."""

from charloom.model.architecture import GATES
from charloom.planning.settings import Settings

_PASSES = 3  # forwards once, and backwards once for the inputs and once for the weights
_ORTHOGONAL = 30  # operations, times H^3, that make one gate's matrix orthogonal: five rounds of three products
_FLOAT = 4  # bytes
_KEPT = 6  # vectors that a layer keeps for the way back, of each character: gates, states, and what goes up
_COPIES = 4  # of each parameter: itself, its gradient, and two averages of the optimizer
_BASE = 350e6  # bytes of a process that has imported PyTorch and trained for a step


def step_operations(settings: Settings, alphabet: int) -> float:
    """Return the multiplications and additions in the matrix products of one update.

    Args:
        settings: Sizes, batch and optimizer.
        alphabet: V.
    """
    layers, hidden, gates = settings.num_layers, settings.hidden_size, GATES[settings.cell]
    characters = settings.batch_size * settings.seq_length
    looked_up = settings.dropout_input == 0 and alphabet < characters  # then each character is multiplied once
    inputs = (alphabet if looked_up else characters) * settings.embedding_size * gates * hidden
    recurrent = characters * (2 * layers - 1) * gates * hidden * hidden
    output = characters * hidden * alphabet
    operations = 2.0 * _PASSES * (inputs + recurrent + output)
    if settings.optimizer == "muon":
        operations += _ORTHOGONAL * gates * (2 * layers - 1) * hidden**3 / settings.muon_every
    return operations


def memory_bytes(settings: Settings, alphabet: int) -> float:
    """Return about how much memory a training takes, its process included."""
    parameters = settings.architecture(alphabet).num_parameters
    characters = settings.batch_size * settings.seq_length
    kept = characters * settings.num_layers * _KEPT * settings.hidden_size
    return _BASE + _FLOAT * (_COPIES * parameters + kept + characters * settings.embedding_size)
