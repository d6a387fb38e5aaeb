"""The report's figures as PNG and SVG files."""

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from charloom._util.extras import require_extra
from charloom.errors import InputError
from charloom.report.analysis import TextAnalysis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROWS, _COLUMNS = 16, 80  # characters of the text in a heat map
_NEURONS = 6


def draw(data: dict[str, Any], reading: TextAnalysis, folder: Path) -> list[Path]:
    """Draw what there is: losses, learning rate, gradients, surprisal, neurons, gates, context.

    Args:
        data: Of ``charloom.report.build``.
        reading: What it was made from.
        folder: Made if it does not exist; files of the same names are written over.

    Returns:
        The files.

    Raises:
        MissingExtraError: If matplotlib is not installed.
        InputError: If the folder cannot be made.
    """
    require_extra("Drawing figures", "figures", "matplotlib")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"Cannot create the folder {folder}: {reason}.", code="unusable_folder", path=str(folder), reason=reason
        ) from None
    evaluations = (data.get("run") or {}).get("evaluations") or []
    paths: list[Path] = []
    if len(evaluations) > 1:
        paths += _save(folder, "losses", lambda axes: _losses(axes, data["run"]))
        for key, label in (("learning_rate", "learning rate"), ("grad_norm", "L2 norm of the gradient")):
            paths += _save(folder, key, partial(_curve, evaluations=evaluations, key=key, label=label))
    paths += _save(folder, "surprisal", lambda axes: _surprisal(axes, reading))
    for one in [one for one in data["neurons"]["named"] if one["is_clear"]][:_NEURONS]:
        name = f"neuron-{one['feature'].replace(' ', '-')}"
        paths += _save(folder, name, partial(_neuron, one=one, listed=data["neurons"]["list"], reading=reading))
    paths += _save(folder, "gates", lambda axes: _gates(axes, data["gates"]))
    return paths + _save(folder, "context", lambda axes: _context(axes, data["context"]))


def _save(folder: Path, name: str, fill: Callable[["Axes"], None]) -> list[Path]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    fill(figure.add_subplot())
    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # a box stands for it
        for path in paths:
            figure.savefig(path, dpi=200)
    return paths


def _losses(axes: "Axes", run: dict[str, Any]) -> None:
    for key, label in (("val_loss", "held out"), ("train_loss", "training")):
        points = [(one["step"], one[key]) for one in run["evaluations"] if one.get(key) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), label=label)
    if run.get("guessing"):
        axes.axhline(run["guessing"]["unigram"], color="grey", linestyle=":", label="guessing by frequency")
    axes.set(xlabel="step", ylabel="nats per character")
    axes.legend()


def _curve(axes: "Axes", evaluations: list[dict[str, Any]], key: str, label: str) -> None:
    points = [(one["step"], one[key]) for one in evaluations if one.get(key) is not None]
    if points:
        axes.plot(*zip(*points, strict=True))
    axes.set(xlabel="step", ylabel=label)


def _heat(axes: "Axes", text: str, values: NDArray[np.float64], scale: tuple[str, float, float]) -> Any:
    """Draw a text as a grid of characters, each on the colour of its value."""
    colours, low, high = scale
    rows: list[list[int]] = [[]]
    for i, character in enumerate(text):
        if character == "\n" or len(rows[-1]) == _COLUMNS:
            rows.append([])
        if character != "\n":
            rows[-1].append(i)
        if len(rows) > _ROWS:
            break
    rows = rows[:_ROWS]
    grid = np.full((len(rows), _COLUMNS), np.nan)
    for y, row in enumerate(rows):
        grid[y, : len(row)] = values[row]
        for x, i in enumerate(row):
            axes.text(x, y, text[i], ha="center", va="center", fontsize=4.5, family="monospace", parse_math=False)
    image = axes.imshow(grid, cmap=colours, vmin=low, vmax=high, aspect="auto", alpha=0.7)  # text stays readable
    axes.set_axis_off()
    return image


def _surprisal(axes: "Axes", reading: TextAnalysis) -> None:
    image = _heat(axes, reading.text, np.append(0.0, reading.surprisals), ("Oranges", 0, 8))
    axes.figure.colorbar(image, label="surprisal, bits")


def _neuron(axes: "Axes", one: dict[str, Any], listed: list[Any], reading: TextAnalysis) -> None:
    layer, part, index = listed[one["neuron"]]
    neuron = next(i for i, n in enumerate(reading.neurons) if (n.layer, n.part, n.index) == (layer, part, index))
    values = reading.states[:, neuron].astype(np.float64)
    strongest = float(np.abs(values).max()) or 1.0
    image = _heat(axes, reading.text, values, ("coolwarm", -strongest, strongest))
    axes.figure.colorbar(image, label="activation")
    axes.set_title(f"layer {layer + 1}, {part} {index}: {one['feature']} (r = {one['correlation']:.2f})")


def _gates(axes: "Axes", gates: list[dict[str, Any]]) -> None:
    for one in gates:
        axes.scatter(one["open"], one["shut"], s=4, alpha=0.5, label=f"layer {one['layer'] + 1}, {one['gate']}")
    axes.set(xlabel="share of characters above 0.9", ylabel="share below 0.1", xlim=(0, 1), ylim=(0, 1))
    axes.legend()


def _context(axes: "Axes", points: list[dict[str, Any]]) -> None:
    axes.plot([one["characters"] for one in points], [one["bits_per_char"] for one in points], marker=".")
    axes.set(xlabel="characters of context", ylabel="bits per character", xscale="log")
