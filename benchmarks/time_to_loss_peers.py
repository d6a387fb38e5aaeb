"""Peers of `time_to_loss.py`: each trains for a given time and returns [(seconds of training, held-out loss), ...]."""

import math
import sys
import tempfile
import time

import numpy as np

EVALUATIONS = 6


def corpus():
    import charloom

    text = charloom.Corpus.read("shakespeare")
    ids = text.vocabulary.encode(text.text).astype(np.int64)
    split = len(ids) - len(ids) // 10
    return ids[:split], ids[split:], len(text.vocabulary)


class Clock:
    """Measures training time without evaluations, and evaluates at equal intervals."""

    def __init__(self, seconds, evaluate):
        self.seconds, self.evaluate = seconds, evaluate
        self.points, self._spent, self._began = [], 0.0, time.perf_counter()

    def elapsed_share(self):
        """Return the elapsed share of the time; call after each step. Evaluates when an interval is over."""
        spent = self._spent + time.perf_counter() - self._began
        if spent >= self.seconds * (len(self.points) + 1) / EVALUATIONS:
            self.points.append((spent, self.evaluate()))
            print(f"{spent:.0f} s: {self.points[-1][1]:.4f}", file=sys.stderr)
            self._spent, self._began = spent, time.perf_counter()
        return spent / self.seconds


def charloom_default(seconds, seed):
    """`charloom train shakespeare --minutes ...`; its seconds include evaluations."""
    import charloom
    from charloom.training.events import EvaluationRecord

    records = []
    with tempfile.TemporaryDirectory() as folder:
        run = f"{folder}/run"
        charloom.train("shakespeare", run=run, progress=False, watch=records.append, minutes=seconds / 60, seed=seed)
    return [(r.seconds, r.val_loss) for r in records if isinstance(r, EvaluationRecord) and r.step]


def pytorch_same(seconds, seed):
    """The model that charloom plans, with PyTorch's layers and AdamW, at the settings that worked best for AdamW."""
    import torch
    from torch import nn

    training, held_out, vocabulary_size = corpus()
    size, streams, length, width, learning_rate, warmup = 384, 32, 32, 128, 6e-3, 100
    torch.manual_seed(seed)
    embedding, layer, output = (
        nn.Embedding(vocabulary_size, width),
        nn.GRU(width, size, batch_first=True),
        nn.Linear(size, vocabulary_size),
    )
    parameters = [*embedding.parameters(), *layer.parameters(), *output.parameters()]
    optimizer = torch.optim.AdamW(parameters, learning_rate, (0.9, 0.99), weight_decay=0.01)
    rows = torch.from_numpy(training[: len(training) // streams * streams].reshape(streams, -1))

    @torch.no_grad()
    def evaluate():
        segments = torch.from_numpy(held_out[: len(held_out) // 64 * 64].reshape(64, -1))
        logits = output(layer(embedding(segments[:, :-1]))[0])
        return nn.functional.cross_entropy(logits.flatten(0, 1), segments[:, 1:].flatten()).item()

    clock, state, at, share, step = Clock(seconds, evaluate), None, 0, 0.0, 0
    while share < 1:
        if at + length + 1 > rows.shape[1]:
            at, state = 0, None
        inputs, targets = rows[:, at : at + length], rows[:, at + 1 : at + length + 1]
        at += length
        out, state = layer(embedding(inputs), state)
        state = state.detach()
        loss = nn.functional.cross_entropy(output(out).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        step += 1
        optimizer.param_groups[0]["lr"] = learning_rate * min(step / warmup, 1 - share)
        optimizer.step()
        share = clock.elapsed_share()
    return clock.points


def keras_tutorial(seconds, seed):
    """The tutorial: a GRU of 1024 units, windows of 100 in shuffled batches of 64, Adam."""
    import keras

    keras.utils.set_random_seed(seed)
    training, held_out, vocabulary_size = corpus()
    batch, length = 64, 100

    def model_for(streams, steps):
        return keras.Sequential(
            [
                keras.Input(batch_shape=(streams, steps), dtype="int32"),
                keras.layers.Embedding(vocabulary_size, 256),
                keras.layers.GRU(1024, return_sequences=True, stateful=True),
                keras.layers.Dense(vocabulary_size),
            ]
        )

    model, loss = model_for(batch, length), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="adam", loss=loss)
    count = (len(training) - 1) // length
    rows = np.stack([training[i * length : (i + 1) * length + 1] for i in range(count)])
    rng = np.random.default_rng(seed)

    def evaluate():
        streams = 64
        steps = (len(held_out) - 1) // (streams * length) * length
        reader = model_for(streams, length)
        reader.set_weights(model.get_weights())
        reader.compile(loss=loss)
        segments = np.stack([held_out[i * steps : (i + 1) * steps + 1] for i in range(streams)])
        losses = [
            reader.test_on_batch(segments[:, t : t + length], segments[:, t + 1 : t + length + 1])
            for t in range(0, steps, length)
        ]
        return float(losses[-1])  # Keras reports the running mean

    model.train_on_batch(rows[:batch, :-1], rows[:batch, 1:])  # warm-up: compiles
    clock, share = Clock(seconds, evaluate), 0.0
    while share < 1:
        for indices in np.array_split(rng.permutation(count), count // batch)[:-1]:
            indices = indices[:batch]
            model.train_on_batch(rows[indices, :-1], rows[indices, 1:])
            share = clock.elapsed_share()
            if share >= 1:
                break
    return clock.points


def nanogpt_model(vocabulary_size, context, width=128):
    """Return the modules, and a function from ids (B, T) to logits (B, T, V)."""
    from torch import nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norms = nn.ModuleList([nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)])
            self.attention = nn.Linear(width, 3 * width, bias=False)
            self.projection = nn.Linear(width, width, bias=False)
            self.mlp = nn.Sequential(
                nn.Linear(width, 4 * width, bias=False), nn.GELU(), nn.Linear(4 * width, width, bias=False)
            )

        def forward(self, x):
            q, k, v = (
                part.unflatten(2, (4, -1)).transpose(1, 2) for part in self.attention(self.norms[0](x)).chunk(3, 2)
            )
            heads = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.projection(heads.transpose(1, 2).flatten(2))
            return x + self.mlp(self.norms[1](x))

    tokens, positions = nn.Embedding(vocabulary_size, width), nn.Embedding(context, width)
    blocks, norm = nn.Sequential(*[Block() for _ in range(4)]), nn.LayerNorm(width, bias=False)
    model = nn.ModuleList([tokens, positions, blocks, norm])
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.02)

    def forward(ids):
        x = blocks(tokens(ids) + positions.weight[: ids.shape[1]])
        return norm(x) @ tokens.weight.t()

    return model, forward


def nanogpt(seconds, seed):
    """NanoGPT's recipe for a CPU: 4 layers, 4 heads, 128 wide, 64 characters of context, batches of 12."""
    import torch
    from torch import nn

    training, held_out, vocabulary_size = corpus()
    context, batch = 64, 12
    torch.manual_seed(seed)
    model, forward = nanogpt_model(vocabulary_size, context)
    groups = [
        {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, 1e-3, (0.9, 0.99))
    text, new_text = torch.from_numpy(training), torch.from_numpy(held_out)

    @torch.no_grad()
    def evaluate():
        windows = new_text.unfold(0, context + 1, context // 2)
        losses = [
            nn.functional.cross_entropy(
                forward(part[:, :-1])[:, context // 2 :].flatten(0, 1), part[:, 1 + context // 2 :].flatten()
            ).item()
            for part in windows.split(256)[:-1]
        ]
        return sum(losses) / len(losses)

    clock, share, step = Clock(seconds, evaluate), 0.0, 0
    while share < 1:
        starts = torch.randint(len(text) - context - 1, (batch, 1)) + torch.arange(context + 1)
        windows = text[starts]
        loss = nn.functional.cross_entropy(forward(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        step += 1
        rate = min(1.0, step / 100) * (1e-4 + 9e-4 * 0.5 * (1 + math.cos(math.pi * share)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        share = clock.elapsed_share()
    return clock.points


PEERS = {
    "charloom's default": charloom_default,
    "the same in PyTorch": pytorch_same,
    "the tutorial in Keras": keras_tutorial,
    "nanoGPT's recipe for a CPU": nanogpt,
}
