"""Cost of a training: arithmetic operations and memory."""

from charloom.model.architecture import GATES
from charloom.planning.settings import Settings

_PRODUCTS = 3  # matrix products per weight matrix and step: one forward; backward for the inputs and for the weights
_ORTHOGONALIZATION = 30  # operations, times H^3, for one gate's matrix: five iterations of three products
_FLOAT_BYTES = 4
_SAVED_VECTORS = 6  # vectors (H,) that a layer saves for the backward pass, per character: gates, states, outputs
_PARAMETER_COPIES = 4  # of each parameter: itself, its gradient, and two averages of the optimizer
_PROCESS_BYTES = 350e6  # memory of a process that has imported PyTorch and trained for one step


def step_operations(settings: Settings, alphabet: int) -> float:
    """Return the multiplications and additions in the matrix products of one update.

    Args:
        settings: Sizes, batch and optimizer of the training.
        alphabet: Number of distinct characters, V.
    """
    layers, hidden, gates = settings.num_layers, settings.hidden_size, GATES[settings.cell]
    characters = settings.batch_size * settings.seq_length
    is_table = settings.dropout_input == 0 and alphabet < characters  # each distinct character multiplied once
    inputs = (alphabet if is_table else characters) * settings.embedding_size * gates * hidden
    recurrent = characters * (2 * layers - 1) * gates * hidden * hidden
    output = characters * hidden * alphabet
    operations = 2.0 * _PRODUCTS * (inputs + recurrent + output)
    if settings.optimizer == "muon":
        operations += _ORTHOGONALIZATION * gates * (2 * layers - 1) * hidden**3 / settings.muon_every
    return operations


def memory_bytes(settings: Settings, alphabet: int) -> float:
    """Return the approximate memory of a training in bytes, its process included."""
    parameters = settings.architecture(alphabet).num_parameters
    characters = settings.batch_size * settings.seq_length
    saved = characters * settings.num_layers * _SAVED_VECTORS * settings.hidden_size
    return _PROCESS_BYTES + _FLOAT_BYTES * (
        _PARAMETER_COPIES * parameters + saved + characters * settings.embedding_size
    )
