"""Scheduled sampling, compared with normal training: part of the training input is replaced by the model's own samples.

    python examples/curriculum.py shakespeare --steps 1200 --share 0.05

During training a model always reads human text; during generation it reads its own output, including mistakes. The
tutorial suggests curriculum learning for this. Here a growing share of the training input is replaced by characters
that the model samples itself.

Two models start with the same weights and read the same batches, one with scheduled sampling and one without. Both
generate texts, which an independent judge scores: an n-gram model of five-character contexts.

Result on two cores in two minutes: the model without scheduled sampling wrote better. The more characters were
replaced, the less the model trusted its input and the flatter its predictions became; see
docs/decisions/training.md#scheduled-sampling-made-the-generated-text-worse.

Sources: Bengio et al. 2015, arXiv:1506.03099; sampling all replacements in one pass beforehand: Duckworth et al.
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

TEXTS, PROMPT, LENGTH = 40, 50, 500  # texts per model; lengths in characters
SEGMENT = 100  # characters; the judge's score is reported per segment after the prompt
ORDER = 6


def train(corpus: Corpus, split: TextSplit, settings: Settings, steps: int, share: float) -> Model:
    """Train a model.

    Args:
        corpus: Corpus with the vocabulary.
        split: Training part and validation part of the text.
        settings: Model size, batches and optimizer.
        steps: Number of updates.
        share: Share of input characters replaced by samples at the end, 0 to 1; grows linearly from 0.
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
            inputs = replace_inputs(network, inputs, state, share * step / steps, generator)
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
def replace_inputs(
    network: CharNetwork, inputs: Tensor, state: NetworkState | None, share: float, generator: torch.Generator
) -> Tensor:
    """Return the inputs (B, T) with a random share replaced by characters sampled from the network."""
    logits, _ = network(inputs, state)
    probabilities = logits[:, :-1].softmax(-1)
    samples = torch.multinomial(probabilities.flatten(0, 1), 1, generator=generator).view_as(inputs[:, 1:])
    replaced = torch.rand(samples.shape, generator=generator) < share
    return torch.cat([inputs[:, :1], torch.where(replaced, samples, inputs[:, 1:])], dim=1)


def generate(model: Model, prompts: list[str]) -> list[str]:
    """Return a text for each prompt at temperature 1, including the prompt."""
    return [model.generate(prompt, LENGTH, temperature=1.0, seed=seed) for seed, prompt in enumerate(prompts)]


def make_judge(text: str) -> Callable[[str, str], float]:
    """Return an n-gram model of a text: a function from context and character to surprisal in bits.

    Counts of contexts of up to ``ORDER - 1`` characters are interpolated by Witten and Bell's rule: the more distinct
    characters follow a context, the lower its weight.
    """
    followers: dict[str, Counter[str]] = defaultdict(Counter)
    for i, character in enumerate(text):
        for length in range(min(ORDER - 1, i) + 1):
            followers[text[i - length : i]][character] += 1
    uniform = 1 / len(followers[""])

    def surprisal(context: str, character: str) -> float:
        probability = uniform
        for length in range(min(ORDER - 1, len(context)) + 1):
            seen = followers.get(context[len(context) - length :])
            if seen is None:
                break
            distinct, total = len(seen), seen.total()
            probability = (seen[character] + distinct * probability) / (total + distinct)
        return -math.log2(probability)

    return surprisal


def segment_bits(texts: list[str], surprisal: Callable[[str, str], float]) -> list[float]:
    """Return the judge's mean bits per character of each segment after the prompt."""
    segments: list[list[float]] = [[] for _ in range(LENGTH // SEGMENT)]
    for text in texts:
        for at in range(PROMPT, PROMPT + LENGTH):
            segments[(at - PROMPT) // SEGMENT].append(surprisal(text[at - ORDER + 1 : at], text[at]))
    return [sum(segment) / len(segment) for segment in segments]


def known_words(texts: list[str], text: str) -> float:
    """Return the share of generated words that occur in `text`, without the first and last word of each text."""
    words = [word for generated in texts for word in generated[PROMPT:].split()[1:-1]]
    known = set(text.split())
    return sum(word in known for word in words) / max(1, len(words))


def compare(corpus: Corpus, settings: Settings, steps: int, share: float) -> None:
    """Train both models, generate with both, and print the comparison."""
    split = corpus.split(settings.val_fraction)
    places = range(0, len(split.validation) - PROMPT - LENGTH, max(1, (len(split.validation) - LENGTH) // TEXTS))
    if len(places) == 0:
        raise CorpusError(
            f"The held-out text has {len(split.validation)} characters; {PROMPT + LENGTH + 1} are needed.",
            code="text_too_short",
        )
    judge = make_judge(split.training)
    human = [split.validation[place : place + PROMPT + LENGTH] for place in places]
    rows = {"human text": (None, known_words(human, split.training), segment_bits(human, judge))}
    for name, this_share in (("plain", 0.0), ("scheduled", share)):
        print(f"{name}: training")
        model = train(corpus, split, settings, steps, this_share)
        texts = generate(model, [text[:PROMPT] for text in human])
        rows[name] = model.facts["val_loss"], known_words(texts, split.training), segment_bits(texts, judge)
    headings = "".join(f"{f'-{(i + 1) * SEGMENT}':>8}" for i in range(LENGTH // SEGMENT))
    print(f"\n{'':<12}{'held out':>10}{'known':>8}   judge's bits per character, by distance from the prompt")
    print(f"{'':<12}{'nats/char':>10}{'words':>8}{headings}")
    for name, (loss, words, bits) in rows.items():
        loss_cell = "-" if loss is None else f"{loss:.4f}"
        print(f"{name:<12}{loss_cell:>10}{words:>8.1%}" + "".join(f"{b:>8.3f}" for b in bits))


def main() -> None:
    """Parse the command line and compare."""
    parser = argparse.ArgumentParser(description="Compare scheduled sampling with normal training.")
    parser.add_argument("corpus", help="text file, folder, or named corpus such as shakespeare")
    parser.add_argument("--recipe", default="auto", help="name or file of a recipe (default: auto)")
    parser.add_argument("--steps", type=int, default=1200, help="updates of each model (default: 1200)")
    parser.add_argument(
        "--share", type=float, default=0.05, help="share of replaced characters at the end, 0 to 1 (default: 0.05)"
    )
    options = parser.parse_args()
    if options.steps < 1 or not 0 <= options.share <= 1:
        parser.error(
            f"--steps must be at least 1 and --share between 0 and 1, got {options.steps} and {options.share}."
        )
    try:
        with kept_memory(), flushed_denormals():
            compare(Corpus.read(options.corpus), load_recipe(options.recipe).settings, options.steps, options.share)
    except CharloomError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
