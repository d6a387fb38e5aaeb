"""Train with a custom loop built from charloom's parts, as the last chapter of the tutorial suggests.

    python examples/open_loop.py shakespeare --recipe tutorial-gru --epochs 10 --output runs/open

The hidden state is reset at the start of every epoch. The loss is printed every 100 batches, a checkpoint is saved
every 5 epochs and at the end, and each epoch prints its duration. Change ``train_step`` to try ideas;
``curriculum.py`` is such a variant.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from charloom import CharloomError, Corpus
from charloom.model.file.model_file import SavedModel, save_model
from charloom.model.initializers import initial_weights
from charloom.planning.recipes import Recipe, load_recipe, parse_assignments
from charloom.training.backends.torch.device import TorchDevice, choose_device, flushed_denormals
from charloom.training.backends.torch.layers import NetworkState
from charloom.training.backends.torch.network import CharNetwork, detached
from charloom.training.backends.torch.optimizer import make_optimizer, set_step
from charloom.training.batches import make_batches
from charloom.training.batches.base import Batch
from charloom.training.steps import kept_memory


def train_step(
    network: CharNetwork,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    state: NetworkState | None,
    device: TorchDevice,
) -> tuple[float, NetworkState]:
    """Apply one update; return the loss before it in nats per character, and the hidden state after the batch."""
    inputs, targets = (torch.from_numpy(ids.astype("int64")) for ids in (batch.inputs, batch.targets))  # (B, T)
    with device.autocast():  # bfloat16 matrix products where the processor is fast at them
        logits, state = network(inputs, state)  # (B, T, V)
    loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
    gradients = torch.autograd.grad(loss, list(trainable_parameters(network)))
    for parameter, gradient in zip(trainable_parameters(network), gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()
    return loss.item(), detached(state)


def trainable_parameters(network: CharNetwork) -> list[Tensor]:
    """Return the parameters that require gradients."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def train(corpus: Corpus, recipe: Recipe, epochs: int, folder: Path) -> None:
    """Train for a number of epochs; write checkpoints and ``losses.jsonl`` to a new folder."""
    settings = recipe.settings
    architecture = settings.architecture(len(corpus.vocabulary))
    network = CharNetwork(architecture, initial_weights(architecture, settings.seed))
    device = choose_device("cpu", settings.precision)
    optimizer = make_optimizer(network, settings, device.precision)
    batches = make_batches(corpus.vocabulary.encode(corpus.text), settings)
    print(device.description, flush=True)
    folder.mkdir(parents=True)
    for epoch in range(1, epochs + 1):
        began, losses, state = time.perf_counter(), [], None
        for index in range(batches.batches_per_epoch):
            set_step(optimizer, (epoch - 1) * batches.batches_per_epoch + index, settings.learning_rate, settings)
            loss, state = train_step(network, optimizer, next(batches), state, device)
            losses.append(loss)
            if index % 100 == 0:
                print(f"epoch {epoch}/{epochs}  batch {index:>3}  loss {loss:.4f}", flush=True)
        seconds = time.perf_counter() - began
        left = (epochs - epoch) * seconds / 60
        print(
            f"epoch {epoch}/{epochs}  last batch loss {loss:.4f}  {seconds:.1f} s, {left:.0f} minutes left", flush=True
        )
        with (folder / "losses.jsonl").open("a") as file:
            print(json.dumps({"epoch": epoch, "losses": losses, "seconds": seconds}), file=file)
        if epoch % 5 == 0 or epoch == epochs:
            facts = {"corpus": corpus.name, "recipe": f"{recipe.name}, open way", "epoch": epoch}
            path = folder / f"epoch-{epoch:02}.safetensors"
            save_model(path, SavedModel(architecture, corpus.vocabulary, network.weights(), facts))
            print(f"saved {path}", flush=True)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description="Train with a custom training loop.")
    parser.add_argument("corpus", help="text file, folder, or named corpus such as shakespeare")
    parser.add_argument("--recipe", default="tutorial-gru", help="name or file of a recipe (default: tutorial-gru)")
    parser.add_argument("--epochs", type=int, default=10, help="passes over the text (default: 10)")
    parser.add_argument(
        "--output", type=Path, default=Path("runs/open"), help="new folder for the run (default: runs/open)"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting of the recipe"
    )
    options = parser.parse_args()
    if options.epochs < 1:
        parser.error(f"--epochs must be at least 1, got {options.epochs}.")
    if options.output.exists():
        parser.error(f"{options.output} already exists. Choose a new folder with --output.")
    try:
        with kept_memory(), flushed_denormals():
            recipe = load_recipe(options.recipe).with_values(parse_assignments(options.set))
            train(Corpus.read(options.corpus), recipe, options.epochs, options.output)
    except CharloomError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
