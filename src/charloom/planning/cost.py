"""Cost of a training run: floating-point operations and memory."""

from charloom.model.architecture import GATES
from charloom.planning.settings import Settings

_PRODUCTS = 3  # matrix products per weight matrix and step: forward, gradient of the inputs, gradient of the weights
_ORTHOGONALIZATION = 30  # operations / H**3 to orthogonalize the matrix of one gate: five iterations of three products
_FLOAT_BYTES = 4
_SAVED_VECTORS = 6  # vectors (H,) saved for the backward pass per layer and character: gates, states, outputs
_PARAMETER_COPIES = 4  # the parameter, its gradient and two moments of the optimizer
_PROCESS_BYTES = 350e6  # memory of a process that has imported PyTorch and made one training step


def step_operations(settings: Settings, vocabulary_size: int) -> float:
    """Count the multiplications and additions in the matrix products of one training step.

    Args:
        settings: Sizes, batch and optimizer of the training.
        vocabulary_size: Number of distinct characters, V.
    """
    layers, hidden, gates = settings.num_layers, settings.hidden_size, GATES[settings.cell]
    characters = settings.batch_size * settings.seq_length
    # without input dropout, each distinct character is projected once if there are fewer of them than of positions
    is_table = settings.dropout_input == 0 and vocabulary_size < characters
    inputs = (vocabulary_size if is_table else characters) * settings.embedding_size * gates * hidden
    recurrent = characters * (2 * layers - 1) * gates * hidden * hidden
    output = characters * hidden * vocabulary_size
    operations = 2.0 * _PRODUCTS * (inputs + recurrent + output)
    if settings.optimizer == "muon":
        operations += _ORTHOGONALIZATION * gates * (2 * layers - 1) * hidden**3 / settings.muon_every
    return operations


def memory_bytes(settings: Settings, vocabulary_size: int) -> float:
    """Estimate the memory of a training process in bytes."""
    parameters = settings.architecture(vocabulary_size).num_parameters
    characters = settings.batch_size * settings.seq_length
    saved = characters * settings.num_layers * _SAVED_VECTORS * settings.hidden_size
    return _PROCESS_BYTES + _FLOAT_BYTES * (
        _PARAMETER_COPIES * parameters + saved + characters * settings.embedding_size
    )
