"""Save the figures of the report as PNG and SVG files."""

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

_ROWS, _COLUMNS = 16, 80  # size of a heat map, in characters of the text
_NEURONS = 6  # maximum number of neurons with a figure


def draw(data: dict[str, Any], analysis: TextAnalysis, folder: Path) -> list[Path]:
    """Save the figures of a report: losses, learning rate, gradient norm, surprisal, neurons, gates, context length.

    Figures of the training are saved only if the run has at least two evaluations.

    Args:
        data: Report data from ``build_report``.
        analysis: The analysis that ``build_report`` returned with the data.
        folder: Destination; created if it does not exist. Files of the same names are overwritten.

    Returns:
        Paths of the saved files.

    Raises:
        MissingExtraError: If matplotlib is not installed.
        InputError: If the folder cannot be created.
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
        for key, label in (("learning_rate", "learning rate"), ("grad_norm", "gradient norm (L2)")):
            paths += _save(folder, key, partial(_curve, evaluations=evaluations, key=key, label=label))
    paths += _save(folder, "surprisal", lambda axes: _surprisal(axes, analysis))
    for neuron in [neuron for neuron in data["neurons"]["named"] if neuron["is_clear"]][:_NEURONS]:
        name = f"neuron-{neuron['feature'].replace(' ', '-')}"
        fill = partial(_neuron, neuron=neuron, positions=data["neurons"]["list"], analysis=analysis)
        paths += _save(folder, name, fill)
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
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # drawn as a box
        for path in paths:
            figure.savefig(path, dpi=200)
    return paths


def _losses(axes: "Axes", run: dict[str, Any]) -> None:
    for key, label in (("val_loss", "held-out loss"), ("train_loss", "training loss")):
        points = [(e["step"], e[key]) for e in run["evaluations"] if e.get(key) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), label=label)
    if run.get("guessing"):
        axes.axhline(run["guessing"]["unigram"], color="grey", linestyle=":", label="unigram baseline")
    axes.set(xlabel="step", ylabel="nats per character")
    axes.legend()


def _curve(axes: "Axes", evaluations: list[dict[str, Any]], key: str, label: str) -> None:
    points = [(e["step"], e[key]) for e in evaluations if e.get(key) is not None]
    if points:
        axes.plot(*zip(*points, strict=True))
    axes.set(xlabel="step", ylabel=label)


def _heat(axes: "Axes", text: str, values: NDArray[np.float64], scale: tuple[str, float, float]) -> Any:
    """Draw a text as a grid of characters on a background colored by value; ``scale`` is (color map, min, max)."""
    color_map, low, high = scale
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
    image = axes.imshow(grid, cmap=color_map, vmin=low, vmax=high, aspect="auto", alpha=0.7)  # keeps the text readable
    axes.set_axis_off()
    return image


def _surprisal(axes: "Axes", analysis: TextAnalysis) -> None:
    image = _heat(axes, analysis.text, np.append(0.0, analysis.surprisals), ("Oranges", 0, 8))
    axes.figure.colorbar(image, label="surprisal (bits)")


def _neuron(axes: "Axes", neuron: dict[str, Any], positions: list[Any], analysis: TextAnalysis) -> None:
    layer, part, index = positions[neuron["neuron"]]
    column = next(i for i, n in enumerate(analysis.neurons) if (n.layer, n.part, n.index) == (layer, part, index))
    values = analysis.states[:, column].astype(np.float64)
    strongest = float(np.abs(values).max()) or 1.0
    image = _heat(axes, analysis.text, values, ("coolwarm", -strongest, strongest))
    axes.figure.colorbar(image, label="activation")
    axes.set_title(f"layer {layer + 1}, {part} {index}: {neuron['feature']} (r = {neuron['correlation']:.2f})")


def _gates(axes: "Axes", gates: list[dict[str, Any]]) -> None:
    for gate in gates:
        axes.scatter(gate["open"], gate["shut"], s=4, alpha=0.5, label=f"layer {gate['layer'] + 1}, {gate['gate']}")
    axes.set(
        xlabel="fraction of characters with gate > 0.9",
        ylabel="fraction of characters with gate < 0.1",
        xlim=(0, 1),
        ylim=(0, 1),
    )
    axes.legend()


def _context(axes: "Axes", points: list[dict[str, Any]]) -> None:
    axes.plot([point["characters"] for point in points], [point["bits_per_char"] for point in points], marker=".")
    axes.set(xlabel="context length (characters)", ylabel="bits per character", xscale="log")
