"""Scheduled sampling: a model that learns to go on from its own characters, measured beside the plain loop.

    python examples/curriculum.py shakespeare --steps 1200 --share 0.05

While it learns, a model always reads what a human wrote; when it writes, it reads what it wrote itself, mistakes
included, and nobody has ever shown it how to get out of one. The tutorial names curriculum learning as a thing to
try in the open way: here a growing share of what the model reads in training is replaced by what it has drawn itself.

Two models begin with the same weights and read the same batches, one plainly, one so. Then both write, and a judge
that is neither of them says what their text costs: counts of which character follows which five before it.

What came out, on two cores in two minutes: the plain model wrote better. The more was replaced, the less the model
trusted what it read, and the flatter its guesses became; see
docs/decisions/training.md#scheduled-sampling-made-the-generated-text-worse.

Source: Bengio et al. 2015, arXiv:1506.03099; drawing all replacements in one pass beforehand as in Duckworth et al.
2019, arXiv:1906.04331.
"""

import argparse
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from charloom import CharloomError, Corpus, Model
from charloom.data.splits import TextSplit
from charloom.errors import CorpusError
from charloom.model.file.model_file import SavedModel
from charloom.model.initializers import initial_weights
from charloom.planning.recipes import load_recipe
from charloom.planning.settings import Settings
from charloom.training.backends.torch.device import flushed_denormals
from charloom.training.backends.torch.evaluate import evaluate
from charloom.training.backends.torch.layers import NetworkState
from charloom.training.backends.torch.network import CharNetwork, detached
from charloom.training.backends.torch.optimizer import make_optimizer, set_step
from charloom.training.batches import make_batches
from charloom.training.optim.schedules import learning_rate_at
from charloom.training.steps import kept_memory

TEXTS, PROMPT, LENGTH = 40, 50, 500  # what each model writes to be judged, in characters
STRETCH = 100  # characters; the cost is told for each such stretch from the beginning
ORDER = 6


def train(corpus: Corpus, split: TextSplit, settings: Settings, steps: int, share: float) -> Model:
    """Train a model.

    Args:
        corpus: Whose vocabulary is used.
        split: Its training part is learned from; its validation part judges.
        settings: Sizes, batches and optimizer.
        steps: Updates.
        share: Of the characters read, replaced by drawn ones at the end; grows from 0 in a straight line.
    """
    architecture = settings.architecture(len(corpus.vocabulary))
    network = CharNetwork(architecture, initial_weights(architecture, settings.seed))
    optimizer = make_optimizer(network, settings)
    batches = make_batches(corpus.vocabulary.encode(split.training), settings)
    generator = torch.Generator().manual_seed(settings.seed)
    state: NetworkState | None = None
    began = time.perf_counter()
    for step in range(steps):
        batch = next(batches)
        state = None if batch.resets_state else state
        inputs, targets = (torch.from_numpy(ids.astype("int64")) for ids in (batch.inputs, batch.targets))  # (B, T)
        if share:
            inputs = mixed(network, inputs, state, share * step / steps, generator)
        logits, state = network(inputs, state)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        set_step(optimizer, step, learning_rate_at(step, steps, settings), settings)
        optimizer.step()
        state = detached(state)
        if (step + 1) % max(1, steps // 5) == 0:
            left = (steps - step - 1) * (time.perf_counter() - began) / (step + 1)
            print(f"  step {step + 1:,}/{steps:,}  loss {loss.item():.3f}  {left:.0f} s left", flush=True)
    held_out = evaluate(network, corpus.vocabulary.encode(split.validation))
    return Model(SavedModel(architecture, corpus.vocabulary, network.weights(), {"val_loss": held_out}))


@torch.no_grad()
def mixed(
    network: CharNetwork, inputs: Tensor, state: NetworkState | None, share: float, generator: torch.Generator
) -> Tensor:
    """Return the inputs (B, T) with a share of them replaced by what the network draws for their places."""
    logits, _ = network(inputs, state)
    probabilities = logits[:, :-1].softmax(-1)
    drawn = torch.multinomial(probabilities.flatten(0, 1), 1, generator=generator).view_as(inputs[:, 1:])
    replaced = torch.rand(drawn.shape, generator=generator) < share
    return torch.cat([inputs[:, :1], torch.where(replaced, drawn, inputs[:, 1:])], dim=1)


def write(model: Model, prompts: list[str]) -> list[str]:
    """Return what a model writes after each prompt at temperature 1, the prompt included."""
    return [model.generate(prompt, LENGTH, temperature=1.0, seed=seed) for seed, prompt in enumerate(prompts)]


def make_judge(text: str) -> Callable[[str, str], float]:
    """Return a function that says what a character costs after a context, in bits.

    It counts which character follows which contexts of up to ``ORDER - 1`` characters, and mixes the orders
    by Witten and Bell's rule: the more different characters follow a context, the less it is trusted.
    """
    followers: dict[str, Counter[str]] = defaultdict(Counter)
    for i, character in enumerate(text):
        for length in range(min(ORDER - 1, i) + 1):
            followers[text[i - length : i]][character] += 1
    uniform = 1 / len(followers[""])

    def cost(context: str, character: str) -> float:
        probability = uniform
        for length in range(min(ORDER - 1, len(context)) + 1):
            seen = followers.get(context[len(context) - length :])
            if seen is None:
                break
            distinct, total = len(seen), seen.total()
            probability = (seen[character] + distinct * probability) / (total + distinct)
        return -math.log2(probability)

    return cost


def judged(texts: list[str], cost: Callable[[str, str], float]) -> list[float]:
    """Return what a character of each stretch after the prompt costs the judge, in bits: the mean over the texts."""
    costs: list[list[float]] = [[] for _ in range(LENGTH // STRETCH)]
    for text in texts:
        for at in range(PROMPT, PROMPT + LENGTH):
            costs[(at - PROMPT) // STRETCH].append(cost(text[at - ORDER + 1 : at], text[at]))
    return [sum(stretch) / len(stretch) for stretch in costs]


def known_words(texts: list[str], text: str) -> float:
    """Return the share of the words written that occur in a text; the first and last of each may be cut."""
    words = [word for written in texts for word in written[PROMPT:].split()[1:-1]]
    known = set(text.split())
    return sum(word in known for word in words) / max(1, len(words))


def compare(corpus: Corpus, settings: Settings, steps: int, share: float) -> None:
    """Train both, let both write, and print what came of it."""
    split = corpus.split(settings.val_fraction)
    places = range(0, len(split.validation) - PROMPT - LENGTH, max(1, (len(split.validation) - LENGTH) // TEXTS))
    if len(places) == 0:
        raise CorpusError(
            f"The held-out text has {len(split.validation)} characters; {PROMPT + LENGTH + 1} are needed."
        )
    cost = make_judge(split.training)
    human = [split.validation[place : place + PROMPT + LENGTH] for place in places]
    rows = {"the author": (None, known_words(human, split.training), judged(human, cost))}
    for name, this_share in (("plain", 0.0), ("scheduled", share)):
        print(f"{name}: training")
        model = train(corpus, split, settings, steps, this_share)
        texts = write(model, [text[:PROMPT] for text in human])
        rows[name] = model.facts["val_loss"], known_words(texts, split.training), judged(texts, cost)
    stretches = "".join(f"{f'-{(i + 1) * STRETCH}':>8}" for i in range(LENGTH // STRETCH))
    print(f"\n{'':<12}{'held out':>10}{'known':>8}   bits per character to the judge, by distance from the prompt")
    print(f"{'':<12}{'nats/char':>10}{'words':>8}{stretches}")
    for name, (loss, words, bits) in rows.items():
        told = "-" if loss is None else f"{loss:.4f}"
        print(f"{name:<12}{told:>10}{words:>8.1%}" + "".join(f"{b:>8.3f}" for b in bits))


def main() -> None:
    """Read the command line and compare."""
    parser = argparse.ArgumentParser(description="Scheduled sampling beside the plain loop.")
    parser.add_argument("corpus", help="a text file, a folder, or a named corpus such as shakespeare")
    parser.add_argument("--recipe", default="auto", help="a recipe's name or file (default: auto)")
    parser.add_argument("--steps", type=int, default=1200, help="updates of each model (default: 1200)")
    parser.add_argument("--share", type=float, default=0.05, help="replaced at the end, 0 to 1 (default: 0.05)")
    options = parser.parse_args()
    if options.steps < 1 or not 0 <= options.share <= 1:
        parser.error(f"--steps must be at least 1 and --share from 0 to 1; got {options.steps} and {options.share}.")
    try:
        with kept_memory(), flushed_denormals():
            compare(Corpus.read(options.corpus), load_recipe(options.recipe).settings, options.steps, options.share)
    except CharloomError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
