"""Peers of `training.py`: each function returns `step()`, which makes one update.

All peers use models of the same size with random weights, the same batch of random characters, and Adam.
"""

import numpy as np

EMBEDDING = 256


def batch_of(case):
    _, _, _, batch, length, vocabulary = case
    ids = np.random.default_rng(0).integers(0, vocabulary, (batch, length + 1))
    return ids[:, :-1], ids[:, 1:]


def keras_peer(case):
    """The tutorial's model in Keras: stateful, compiled, `train_on_batch`."""
    import keras

    cell, hidden, layers, batch, length, vocabulary = case
    layer = keras.layers.GRU if cell == "gru" else keras.layers.LSTM
    model = keras.Sequential(
        [
            keras.Input(batch_shape=(batch, length), dtype="int32"),
            keras.layers.Embedding(vocabulary, EMBEDDING),
            *(layer(hidden, return_sequences=True, stateful=True) for _ in range(layers)),
            keras.layers.Dense(vocabulary),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="adam", loss=loss)
    inputs, targets = batch_of(case)
    return lambda: model.train_on_batch(inputs, targets)


def torch_peer(autocast, device="cpu"):
    def make(case):
        import torch
        from torch import nn

        cell, hidden, layers, _, _, vocabulary = case
        embedding = nn.Embedding(vocabulary, EMBEDDING)
        layer = (nn.GRU if cell == "gru" else nn.LSTM)(EMBEDDING, hidden, layers, batch_first=True)
        output = nn.Linear(hidden, vocabulary)
        for part in (embedding, layer, output):
            part.to(device)
        parameters = [*embedding.parameters(), *layer.parameters(), *output.parameters()]
        optimizer = torch.optim.Adam(parameters, 1e-3)
        inputs, targets = (torch.from_numpy(part).to(device) for part in batch_of(case))
        state = None

        def step():
            nonlocal state
            with torch.autocast(device, torch.bfloat16, enabled=autocast):
                out, next_state = layer(embedding(inputs), state)
                logits = output(out)
            state = (
                tuple(part.detach() for part in next_state) if isinstance(next_state, tuple) else next_state.detach()
            )
            loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.item()  # waits for the device, as training that reports its loss does

        torch.set_flush_denormal(True)
        return step

    return make


def jax_peer(case):
    """JAX: a scan over the time steps, compiled as one function."""
    import jax
    import jax.numpy as jnp

    from generation_peers import jax_cell, jax_parameters

    cell, hidden, layers, batch, _, vocabulary = case
    if layers != 1:
        raise SystemExit("The JAX peer supports one layer only.")
    run = jax_cell(cell)
    parameters = jax_parameters(cell, hidden, vocabulary, EMBEDDING)
    inputs, targets = (jnp.asarray(part, jnp.int32) for part in batch_of(case))

    def loss_of(parameters, state):
        embedding, output = parameters["embedding"], parameters["output"]
        state, hiddens = jax.lax.scan(lambda state, x: (run(parameters, x, state),) * 2, state, embedding[inputs.T])
        log_probs = jax.nn.log_softmax(hiddens[0] @ output)
        return -jnp.take_along_axis(log_probs, targets.T[..., None], -1).mean(), state

    @jax.jit
    def update(parameters, averages, count, state):
        (_, state), gradients = jax.value_and_grad(loss_of, has_aux=True)(parameters, state)
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, averages[0], gradients)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, averages[1], gradients)
        size = 1e-3 * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        parameters = jax.tree.map(lambda p, m, v: p - size * m / (jnp.sqrt(v) + 1e-7), parameters, first, second)
        return parameters, (first, second), count + 1, state

    zeros = jax.tree.map(jnp.zeros_like, parameters)
    carry = [parameters, (zeros, zeros), jnp.float32(1), (jnp.zeros((batch, hidden)),) * (2 - (cell == "gru"))]

    def step():
        carry[:] = jax.block_until_ready(update(*carry))

    return step


def charloom_peer(precision, engine=True, device="cpu"):
    def make(case):
        from charloom.model.initializers import initial_weights
        from charloom.planning.recipes import RECIPES
        from charloom.training.backends.torch import network as networks
        from charloom.training.backends.torch.backend import train_steps
        from charloom.training.backends.torch.device import choose_device
        from charloom.training.backends.torch.device_ids import place_ids
        from charloom.training.batches import make_batches

        if not engine:
            networks.can_train = lambda: False
        cell, hidden, layers, batch, length, vocabulary = case
        choices = {"hidden_size": hidden, "num_layers": layers, "batch_size": batch, "seq_length": length}
        settings = RECIPES[f"tutorial-{cell}"].with_values(choices | {"reset_state": "never"}).settings
        architecture = settings.architecture(vocabulary)
        network = networks.CharNetwork(architecture, initial_weights(architecture, 0)).to(device)
        ids = np.random.default_rng(0).integers(0, vocabulary, 3 * batch * (length + 1) + 1).astype(np.uint16)
        batches = make_batches(place_ids(ids, device), settings)
        records = train_steps(network, batches, settings, 10**6, choose_device(device, precision))
        return lambda: next(records)

    return make


def matrix_products(precision):
    """Only the matrix products of a step: hidden state (forward, backward), weight gradients, output layer."""

    def make(case):
        import torch

        cell, hidden, layers, batch, length, vocabulary = case
        gates = (3 if cell == "gru" else 4) * hidden

        def random_tensor(*shape):
            return torch.randn(shape).to(getattr(torch, precision))

        h, u, g, w = (
            random_tensor(batch, hidden),
            random_tensor(batch, gates),
            random_tensor(hidden, gates),
            random_tensor(gates, hidden),
        )
        many_g, many_h, back = (
            random_tensor(gates, batch * length),
            random_tensor(batch * length, hidden),
            random_tensor(batch, hidden),
        )
        logits, out = random_tensor(batch * length, vocabulary), random_tensor(hidden, vocabulary)
        of_w, of_h, of_out = torch.empty_like(w), torch.empty_like(many_h), torch.empty_like(out)
        many_u, of_ih = random_tensor(batch * length, gates), torch.empty_like(w)

        def step():
            for layer in range(layers):
                for _ in range(length):
                    torch.mm(h, g, out=u)
                    torch.mm(u, w, out=back)
                torch.mm(many_g, many_h, out=of_w)
                if layer:  # the input projection of upper layers
                    torch.mm(many_h, g, out=many_u)
                    torch.mm(many_u, w, out=of_h)
                    torch.mm(many_g, many_h, out=of_ih)
            torch.mm(many_h, out, out=logits)
            torch.mm(logits, out.t(), out=of_h)
            torch.mm(many_h.t(), logits, out=of_out)

        return step

    return make


PEERS = {
    "Keras, the tutorial": keras_peer,
    "PyTorch, float32": torch_peer(False),
    "PyTorch, bfloat16 autocast": torch_peer(True),
    "JAX, one compiled step": jax_peer,
    "charloom, float32": charloom_peer("float32"),
    "charloom, float32, without compiled module": charloom_peer("float32", engine=False),
    "charloom, default precision": charloom_peer("auto"),
    "matrix products only, float32": matrix_products("float32"),
    "matrix products only, bfloat16": matrix_products("bfloat16"),
}
