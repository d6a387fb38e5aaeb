"""Build the JSON data of the report page, one function per section."""

import base64
import math
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom._util.progress import ProgressCallback
from charloom._version import __version__
from charloom.data.baselines import Baselines, baselines
from charloom.data.splits import CorpusSplit, flatten_ids
from charloom.data.text_format import LABEL_MARK, RECORD_MARK
from charloom.data.vocabulary.characters import Vocabulary
from charloom.errors import Notice, RunError
from charloom.inference.memorization import (
    LONG,
    MeasuredSample,
    Memorization,
    held_out_segments,
    longest_passages,
    measure_memorizations,
    measured_samples,
)
from charloom.inference.model import Model
from charloom.report.analysis import Neuron, Saturation, TextAnalysis, analyze_text
from charloom.report.confusion import Confusion, embedding_map, frequent_confusions
from charloom.report.context_length import loss_by_context_length
from charloom.report.features import features
from charloom.report.neurons import NamedNeuron, correlations, name_neurons
from charloom.report.provenance import Provenance
from charloom.report.run_history import RunHistory, read_history
from charloom.report.verdict import Course, verdict
from charloom.training.checkpoint import newest_checkpoint
from charloom.training.events import EvaluationRecord
from charloom.web.report_page import COLOUR_LEVELS

MAX_CHARACTERS = 50_000
"""Maximum number of characters that a report shows."""

_SYMBOLS = {ord(RECORD_MARK): "\u241e", ord(LABEL_MARK): "\u241f"}  # SYMBOL FOR RECORD and UNIT SEPARATOR
_NEURON_BYTES = 16_000_000  # bytes of neuron activations in a page, before base64

_HELD_OUT = 20_000  # characters of held-out text shown if no text is named
_HELD_OUT_SEARCHED = 20_000  # characters of held-out text searched for in the training text
_GENERATED = 5_000  # characters generated if neither a text nor held-out text is available

Step = Callable[[str], ProgressCallback]
"""Called with the name of the next step; returns the progress callback for that step."""


def build_report(provenance: Provenance, text: str, about: str, step: Step) -> tuple[dict[str, Any], TextAnalysis]:
    """Build the data of the report page, and return it with the analysis of the text.

    Args:
        provenance: The model with its run and training text.
        text: The text to analyze: at least two characters, all in the vocabulary.
        about: A description of the text for the page.
        step: Reports progress; see ``Step``.
    """
    model = Model(provenance.model)
    engine, vocabulary = model.engine(), Vocabulary(model.vocabulary.characters)
    displayed = model.vocabulary.displayed(text)
    text = model.vocabulary.symbols(model.vocabulary.encode(text))  # for byte models, one character per byte
    analysis = analyze_text(engine, vocabulary, text, step("Analyzing text"))
    step("Naming neurons")
    feature_values = features(displayed)
    candidates = name_neurons(analysis.states, feature_values)
    named = [neuron for neuron in candidates if neuron.follows]
    parts = provenance.parts
    samples = measured_samples(model, parts.training if parts else None, progress=step("Generating samples"))
    data = {
        **model_section(provenance),
        **training_section(provenance),
        "text": {"text": displayed, "about": about, "bits_per_char": analysis.bits_per_char} | _predictions(analysis),
        "neurons": _neurons(analysis, named, feature_values),
        "gates": [_saturation(saturation) for saturation in analysis.saturation],
        "context": [asdict(point) for point in loss_by_context_length(engine, vocabulary, text)],
        "mistakes": [_confusion(entry) for entry in frequent_confusions(text, analysis.confusions)],
        "embedding": [asdict(point) for point in embedding_map(provenance.model, text)],
        "written": [_sample(sample) for sample in samples],
        "copies": {
            "longer_than": LONG,
            "missing": provenance.missing,
            "held_out": _held_out_memorization(parts),
            "longest_passages": _longest_passages(samples, parts),
        },
    }
    if provenance.model.rules.records is not None:
        data["text"]["about"] += " \u241e marks the end of a record."
        data = _with_symbols(data)
    return replace_non_finite(data), analysis


def _with_symbols(value: Any) -> Any:
    """Replace the marks of records in all strings by their visible symbols, which keeps all positions."""
    if isinstance(value, str):
        return value.translate(_SYMBOLS)
    if isinstance(value, dict):
        return {_with_symbols(key): _with_symbols(item) for key, item in value.items()}
    return [_with_symbols(item) for item in value] if isinstance(value, (list, tuple)) else value


def default_text(provenance: Provenance) -> tuple[str, str, str]:
    """Choose the text to analyze if the user names none: the held-out text, else generated text.

    Returns:
        The text, a description of it for the page, and a ``Notice`` if it is generated text, else "".
    """
    held_out = provenance.parts.validation.head(_HELD_OUT) if provenance.parts else ""
    if len(held_out) > 1:
        return held_out, f"Held-out text from the training, {len(held_out):,} characters.", ""
    generated = Model(provenance.model).generate_records(_GENERATED, seed=0)
    reason = provenance.missing or "No text was held out."
    note = Notice(f"{reason} The report analyzes generated text instead.", code="generated_text_analyzed")
    return generated, f"Text generated by the model, {len(generated):,} characters.", note


def model_section(provenance: Provenance) -> dict[str, Any]:
    """Build the section about the model: architecture, vocabulary, provenance."""
    a, facts = provenance.model.architecture, provenance.model.facts
    shown = ("corpus", "corpus_characters", "recipe", "step", "epoch", "train_loss", "val_loss", "best_val_loss")
    return {
        "charloom": __version__,
        "name": provenance.name,
        "model": {
            **a.to_dict(),
            "parameters": a.num_parameters,
            "vocabulary": provenance.model.vocabulary.names(),
            "unit": provenance.model.vocabulary.unit,
            **{key: facts.get(key) for key in shown},
        },
    }


def training_section(provenance: Provenance) -> dict[str, Any]:
    """Build the section about the training; "run" and "verdict" are None if the model has no run folder."""
    if provenance.run is None:
        return {"run": None, "verdict": None}
    history, losses = read_history(provenance.run), _baselines(provenance)
    guessing = None if losses is None else {"uniform": losses.uniform, "unigram": losses.unigram}
    return {"run": history.data() | {"guessing": guessing}, "verdict": _verdict(provenance, history, losses)}


def _verdict(provenance: Provenance, history: RunHistory, losses: Baselines | None) -> dict[str, Any] | None:
    """Return the verdict on the run; None if it has no checkpoint, which says whether it was completed."""
    assert provenance.run is not None
    try:
        model, training, _ = newest_checkpoint(provenance.run)
    except RunError:
        return None
    facts = training.facts
    lines: list[dict[str, Any]] = [
        {item.name: line.get(item.name) for item in fields(EvaluationRecord)} for line in history.evaluations
    ]
    course = Course(
        str(provenance.run),
        [EvaluationRecord(**line) for line in lines],
        losses,
        len(provenance.parts.training) if provenance.parts else None,
        facts["step"],
        model.facts["settings"]["steps"],
        not facts["finished"],
        facts["seconds"],
    )
    return verdict(course).to_dict()


def _baselines(provenance: Provenance) -> Baselines | None:
    """Compute the uniform and unigram baselines on the held-out text, in nats per character.

    Returns None if the training text is not available.
    """
    if provenance.parts is None:
        return None
    vocabulary, parts = provenance.model.vocabulary, provenance.parts
    training, validation = (flatten_ids(part.ids(vocabulary)) for part in (parts.training, parts.validation))
    return baselines(training, validation if len(validation) else training, len(vocabulary))


def _predictions(analysis: TextAnalysis) -> dict[str, Any]:
    return {
        "surprisals": encode_array(np.minimum(analysis.surprisals * 100, 65_535).astype("<u2")),
        "guesses": encode_array(analysis.predicted_ids.astype("<u2")),
        "probabilities": encode_array(np.rint(analysis.probabilities * 65_535).astype("<u2")),
        "guesses_each": analysis.predicted_ids.shape[1],
    }


def _neurons(
    analysis: TextAnalysis, named: list[NamedNeuron], feature_values: dict[str, NDArray[np.float64]]
) -> dict[str, Any]:
    """Build the section about neurons: their 4-bit activations and the features that they follow.

    A page holds ``_NEURON_BYTES`` of activations. If not all neurons fit, the ones that correlate most with a feature
    are shown.
    """
    length, count = analysis.states.shape
    bytes_each = -(-length // 2)
    max_neurons = max(1, _NEURON_BYTES // bytes_each)
    kept = list(range(count))
    if count > max_neurons:
        columns = np.stack(list(feature_values.values()), axis=1) if feature_values else np.zeros((length, 1))
        strength = np.abs(correlations(analysis.states, columns)).max(axis=0)
        strength[[neuron.neuron for neuron in named]] = 2.0  # above any correlation: named neurons come first
        kept = sorted(np.argsort(-strength, kind="stable")[:max_neurons].tolist())
    row_of = {neuron: row for row, neuron in enumerate(kept)}
    return {
        "count": count,
        "bytes_each": bytes_each,
        "levels": COLOUR_LEVELS,
        "list": [_neuron(analysis.neurons[n]) for n in kept],
        "named": [
            {
                "neuron": row_of[neuron.neuron],
                "feature": neuron.feature,
                "found": neuron.search_correlation,
                "correlation": neuron.correlation,
                "by_chance": neuron.chance_correlation,
                "is_clear": neuron.is_clear,
            }
            for neuron in named
            if neuron.neuron in row_of
        ],
        "not_followed": [feature for feature in feature_values if feature not in {n.feature for n in named}],
        "states": encode_array(_levels(analysis.states[:, kept])),
    }


def _neuron(neuron: Neuron) -> list[Any]:
    return [neuron.layer, neuron.part, neuron.index]


def _levels(states: NDArray[np.float16]) -> NDArray[np.uint8]:
    """Quantize activations (T, N) to 4 bits, packed as bytes (N, ceil(T / 2)).

    Each byte holds two characters, the first in the lower 4 bits. A value from -7 to 7 is stored plus 8; each neuron is
    scaled so that its largest absolute value is 7.
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


def _saturation(saturation: Saturation) -> dict[str, Any]:
    return {
        "layer": saturation.layer,
        "gate": saturation.gate,
        "shut": np.round(saturation.shut, 4).tolist(),
        "open": np.round(saturation.open, 4).tolist(),
    }


def _confusion(entry: Confusion) -> dict[str, Any]:
    return {"actual": entry.actual, "guessed": entry.predicted, "count": entry.count, "share": entry.share}


def _sample(sample: MeasuredSample) -> dict[str, Any]:
    return {
        "temperature": sample.temperature,
        "text": sample.text,
        "novelty": _memorization(sample.memorization),
    }


def _held_out_memorization(parts: CorpusSplit | None) -> dict[str, Any] | None:
    """Measure how much of the held-out text occurs verbatim in the training text: the reference for generated text."""
    if parts is None or not len(parts.validation):
        return None
    held_out = parts.validation.head(_HELD_OUT_SEARCHED)
    segments = [held_out_segments(held_out, parts.validation)]
    return _memorization(measure_memorizations([held_out], parts.training.pieces(), segments=segments)[0])


def _memorization(memorization: Memorization | None) -> dict[str, Any] | None:
    if memorization is None:
        return None
    return {
        "characters": len(memorization.lengths),
        "copied": memorization.copied,
        "longest": memorization.longest,
        "segments": len(memorization.segments),
        "copied_segments": len(memorization.copied_segments),
        "passages": _highlighted(memorization),
    }


def _highlighted(memorization: Memorization) -> list[tuple[int, int]]:
    """Return the copied passages and the copied lines and sentences, merged where they overlap."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted([*memorization.passages(), *memorization.copied_segments]):
        if merged and merged[-1][1] >= start:
            start, end = merged[-1][0], max(merged.pop()[1], end)
        merged.append((start, end))
    return merged


def _longest_passages(samples: list[MeasuredSample], parts: CorpusSplit | None) -> list[dict[str, Any]]:
    """Return the longest copied passages of the samples, the temperature of the sample and the location of each."""
    measured = [(sample.text, sample.memorization) for sample in samples if sample.memorization is not None]
    if parts is None or not measured:
        return []
    texts, memorizations = zip(*measured, strict=True)
    return [
        {
            "text": passage.text,
            "temperature": samples[passage.index].temperature,
            "line": passage.location and passage.location.line,
            "record": passage.location and passage.location.record,
        }
        for passage in longest_passages(texts, memorizations, parts.training)
    ]


def encode_array(values: NDArray[Any]) -> str:
    """Encode the bytes of an array as base64."""
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


def replace_non_finite(value: Any) -> Any:
    """Replace NaN and infinite numbers in JSON data by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: replace_non_finite(item) for key, item in value.items()}
    return [replace_non_finite(item) for item in value] if isinstance(value, (list, tuple)) else value
