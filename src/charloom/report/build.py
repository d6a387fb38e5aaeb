"""Build a report as JSON data: one part for each section of the page."""

import base64
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom._util.progress import ProgressCallback
from charloom._version import __version__
from charloom.data.baselines import baselines
from charloom.data.splits import CorpusSplit, flatten_ids
from charloom.data.vocabulary.characters import Vocabulary
from charloom.inference.memorization import LONG, MeasuredSample, Memorization, measure_memorization, measured_samples
from charloom.inference.model import Model
from charloom.report.analysis import Neuron, Saturation, TextAnalysis, analyze_text
from charloom.report.confusion import embedding_map, frequent_confusions
from charloom.report.context_length import loss_by_context_length
from charloom.report.features import features
from charloom.report.neurons import NamedNeuron, correlations, name_neurons
from charloom.report.provenance import Provenance
from charloom.report.run_history import read_history
from charloom.web.report_page import COLOUR_LEVELS

MAX_CHARACTERS = 50_000
"""Maximum number of characters that a report shows."""

_NEURON_BYTES = 16_000_000  # of neuron activations in a page, before base64

_HELD_OUT = 20_000  # characters of the held-out text that are shown if no text is named
_HELD_OUT_SEARCHED = 20_000  # characters of the held-out text that are looked for in the training text
_GENERATED = 5_000  # characters that are generated if there is no text at all

Step = Callable[[str], ProgressCallback]
"""Called with the name of the next step; returns the callback for the progress of that step."""


def build_report(provenance: Provenance, text: str, about: str, step: Step) -> tuple[dict[str, Any], TextAnalysis]:
    """Build the data of a report; return it, and the analysis that it was made from.

    Args:
        provenance: The model and its origin.
        text: The text to analyze: at least two characters, all known to the model.
        about: A description of that text for the page.
        step: Reports progress; see ``Step``.
    """
    model = Model(provenance.model)
    engine, vocabulary = model.engine(), Vocabulary(model.vocabulary.characters)
    displayed = model.vocabulary.displayed(text)
    text = model.vocabulary.symbols(model.vocabulary.encode(text))  # of bytes, one character for each
    analysis = analyze_text(engine, vocabulary, text, step("reading"))
    step("naming neurons")
    feature_values = features(displayed)
    named = name_neurons(analysis.states, feature_values)
    parts = provenance.parts
    training = parts.training if parts else None
    data = {
        **model_section(provenance),
        **training_section(provenance),
        "text": {"text": displayed, "about": about, "bits_per_char": analysis.bits_per_char} | _predictions(analysis),
        "neurons": _neurons(analysis, named, feature_values),
        "gates": [_saturation(one) for one in analysis.saturation],
        "context": [asdict(point) for point in loss_by_context_length(engine, vocabulary, text)],
        "mistakes": [asdict(one) for one in frequent_confusions(text, analysis.mistakes)],
        "embedding": [asdict(place) for place in embedding_map(provenance.model, text)],
        "written": [_sample(one) for one in measured_samples(model, training, progress=step("writing"))],
        "copies": {
            "longer_than": LONG,
            "missing": provenance.missing,
            "held_out": _held_out_memorization(parts),
        },
    }
    return replace_non_finite(data), analysis


def default_text(provenance: Provenance) -> tuple[str, str, str]:
    """Return the text to analyze if none is named, a description of it, and a note if it is not held-out text."""
    shown = provenance.parts.validation.head(_HELD_OUT) if provenance.parts else ""
    if len(shown) > 1:
        about = f"This is the text that was held out when it was trained, {len(shown):,} characters of it."
        return shown, about, ""
    written = Model(provenance.model).generate(length=_GENERATED, seed=0)
    reason = provenance.missing or "No text was held out."
    return written, "This is a text that the model wrote.", f"{reason} The page shows a text that the model writes."


def model_section(provenance: Provenance) -> dict[str, Any]:
    """Return the section about the model."""
    a, facts = provenance.model.architecture, provenance.model.facts
    kept = ("corpus", "corpus_characters", "recipe", "step", "epoch", "train_loss", "val_loss", "best_val_loss")
    return {
        "charloom": __version__,
        "name": provenance.name,
        "model": {
            **a.to_dict(),
            "parameters": a.num_parameters,
            "vocabulary": provenance.model.vocabulary.names(),
            "unit": provenance.model.vocabulary.unit,
            **{key: facts.get(key) for key in kept},
        },
    }


def training_section(provenance: Provenance) -> dict[str, Any]:
    """Return the section about the training; its run is None if it is not known."""
    if provenance.run is None:
        return {"run": None}
    return {"run": read_history(provenance.run).data() | {"guessing": _baselines(provenance)}}


def _baselines(provenance: Provenance) -> dict[str, float] | None:
    """Return the baselines on the held-out text, in nats per character."""
    if provenance.parts is None:
        return None
    vocabulary, parts = provenance.model.vocabulary, provenance.parts
    training, validation = (flatten_ids(part.ids(vocabulary)) for part in (parts.training, parts.validation))
    costs = baselines(training, validation if len(validation) else training, len(vocabulary))
    return {"uniform": costs.uniform, "unigram": costs.unigram}


def _predictions(analysis: TextAnalysis) -> dict[str, Any]:
    return {
        "surprisals": encode_array(np.minimum(analysis.surprisals * 100, 65_535).astype("<u2")),
        "guesses": encode_array(analysis.guesses.astype("<u2")),
        "probabilities": encode_array(np.rint(analysis.probabilities * 65_535).astype("<u2")),
        "guesses_each": analysis.guesses.shape[1],
    }


def _neurons(
    analysis: TextAnalysis, named: list[NamedNeuron], feature_values: dict[str, NDArray[np.float64]]
) -> dict[str, Any]:
    """Return the activations of the neurons, 4 bits each; if not all fit, those that correlate best with a feature."""
    length, count = analysis.states.shape
    bytes_each = -(-length // 2)
    max_neurons = max(1, _NEURON_BYTES // bytes_each)
    kept = list(range(count))
    if count > max_neurons:
        columns = np.stack(list(feature_values.values()), axis=1) if feature_values else np.zeros((length, 1))
        strength = np.abs(correlations(analysis.states, columns)).max(axis=0)
        strength[[one.neuron for one in named]] = 2.0  # named neurons first
        kept = sorted(np.argsort(-strength, kind="stable")[:max_neurons].tolist())
    place = {neuron: at for at, neuron in enumerate(kept)}
    return {
        "count": count,
        "bytes_each": bytes_each,
        "levels": COLOUR_LEVELS,
        "list": [_neuron(analysis.neurons[n]) for n in kept],
        "named": [
            {**asdict(one), "neuron": place[one.neuron], "is_clear": one.is_clear}
            for one in named
            if one.neuron in place
        ],
        "states": encode_array(_levels(analysis.states[:, kept])),
    }


def _neuron(neuron: Neuron) -> list[Any]:
    return [neuron.layer, neuron.part, neuron.index]


def _levels(states: NDArray[np.float16]) -> NDArray[np.uint8]:
    """Quantize activations to 4 bits: (N, ceil(T / 2)) bytes of two characters, the first in the lower half.

    Each neuron's strongest value is 7 or -7, and 8 stands for zero.
    """
    length, count = states.shape
    packed = np.zeros((count, -(-length // 2)), np.uint8)
    for n in range(count):
        values = states[:, n].astype(np.float32)
        scale = COLOUR_LEVELS / max(float(np.abs(values).max()), 1e-6)
        levels = (np.rint(values * scale) + COLOUR_LEVELS + 1).astype(np.uint8)
        packed[n, : len(levels[0::2])] = levels[0::2]
        packed[n, : len(levels[1::2])] |= levels[1::2] << 4
    return packed


def _saturation(one: Saturation) -> dict[str, Any]:
    return {
        "layer": one.layer,
        "gate": one.gate,
        "shut": np.round(one.shut, 4).tolist(),
        "open": np.round(one.open, 4).tolist(),
    }


def _sample(sample: MeasuredSample) -> dict[str, Any]:
    return {
        "temperature": sample.temperature,
        "text": sample.text,
        "novelty": _memorization(sample.memorization),
    }


def _held_out_memorization(parts: CorpusSplit | None) -> dict[str, Any] | None:
    """Return how much of the held-out text also occurs in the training text: the value to expect without copying."""
    if parts is None or not len(parts.validation):
        return None
    return _memorization(measure_memorization(parts.validation.head(_HELD_OUT_SEARCHED), parts.training.pieces()))


def _memorization(memorization: Memorization | None) -> dict[str, Any] | None:
    if memorization is None:
        return None
    return {
        "characters": len(memorization.lengths),
        "copied": memorization.copied,
        "longest": memorization.longest,
        "passages": memorization.passages(),
    }


def encode_array(values: NDArray[Any]) -> str:
    """Encode the bytes of an array as base64."""
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


def replace_non_finite(value: Any) -> Any:
    """Replace numbers that are not finite by None in JSON data."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: replace_non_finite(one) for key, one in value.items()}
    return [replace_non_finite(one) for one in value] if isinstance(value, (list, tuple)) else value
