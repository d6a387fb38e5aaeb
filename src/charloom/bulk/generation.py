"""Bulk generation: create a synthetic dataset partition by partition."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from charloom.bulk.job import BulkJob, json_row, make_job
from charloom.inference.generation import (
    Request,
    WritingOptions,
    choose_label,
    continue_text,
    make_request,
    prompt_ids,
    prompts_cursor,
    with_rules,
)
from charloom.inference.generation_options import DEFAULT_LENGTH, DEFAULT_TEMPERATURE, MAX_SEED, check_seed, check_whole
from charloom.inference.model import Model
from charloom.inference.sampling import allowed_bias
from charloom.model.file.run_folder import find_model

PARTITION_TEXTS = 1000
"""Default number of texts per partition."""

_BATCH_SIZE = 64  # texts per batch; larger batches are hardly faster
_WORDS = 4  # random words per counter value of Philox
_KEY = 2  # second word of the Philox key; 0 is for characters, 1 for the seeds of samples


def generation_job(
    folder: str | os.PathLike[str],
    model: str,
    texts: int,
    *,
    prompt: str = "",
    length: int = DEFAULT_LENGTH,
    temperature: float = DEFAULT_TEMPERATURE,
    seed: int = 0,
    partition_texts: int = PARTITION_TEXTS,
    **options: Unpack[WritingOptions],
) -> BulkJob:
    """Create a job that generates many texts, or open it if it exists.

    A row consists of the number of the text, its seed, for a model of labeled records its
    label, the text and its finish reason. A text depends only on the job's
    seed and its number; ``Model.generate`` generates the same text from the seed in the row.

    Args:
        folder: Folder of the job; created if it does not exist.
        model: A model as accepted by ``Model.load``.
        texts: Number of texts, in [1, 2**53 - 1].
        prompt: Prompt of every text.
        length: Maximum number of characters to generate after the prompt, 1 or more.
        temperature: See ``Sampling``.
        seed: Seed; the same seed gives the same texts.
        partition_texts: Number of texts per partition, 1 or more.
        **options: See ``WritingOptions``.

    Raises:
        JobError: If the folder contains a different job.
        ModelFileError: If the model does not exist or is damaged.
        SettingsError: If an option is unknown or out of range.
        UnknownCharacterError: If the prompt, ``allow`` or ``forbid`` contains a character that is not in the
            vocabulary.
    """
    texts = check_whole("texts", texts, 1, MAX_SEED)
    length = check_whole("length", length, 1, MAX_SEED)
    partition_texts = check_whole("partition_texts", partition_texts, 1, MAX_SEED)
    arguments = {"prompt": prompt, "length": length, "temperature": temperature, **options}
    request, _ = _request(arguments)
    source = find_model(model)
    loaded = Model.load(str(source))
    request = with_rules(request, loaded.rules)
    label = choose_label(loaded.rules, request.label, 0)
    prompt_ids(loaded.vocabulary, prompt, request.unknown, loaded.rules, label)
    allowed_bias(loaded.vocabulary, request.sampling)
    manifest = {
        "work": "write",
        "texts": texts,
        "partition_texts": partition_texts,
        "partitions": -(-texts // partition_texts),
        "options": {**arguments, "seed": check_seed(seed)},
    }
    return make_job(Path(folder).resolve(), manifest, source.read_bytes())


def text_seeds(seed: int, first: int, count: int) -> list[int]:
    """Derive the seeds of the texts ``first`` to ``first + count - 1``, 53 random bits each.

    The cost does not depend on ``first``: Philox is a counter-based generator.

    Args:
        seed: Seed of the job.
        first: Number of the first text, from 0.
        count: Number of seeds, 0 or more.
    """
    generator = np.random.Philox(key=[check_seed(seed), _KEY])
    generator.advance(first // _WORDS)
    words = generator.random_raw(first % _WORDS + count)[first % _WORDS :]
    return [int(word) >> 11 for word in words.tolist()]


def generate_partition(job: BulkJob, model: Model, number: int) -> dict[str, Any]:
    """Generate the texts of a partition, write its part, and return the entries of its summary row."""
    size = job.manifest["partition_texts"]
    first = number * size
    count = min(size, job.manifest["texts"] - first)
    options = dict(job.manifest["options"])
    seeds = text_seeds(options.pop("seed"), first, count)
    request, precision = _request(options)
    rows, characters = [], 0
    for start in range(0, count, _BATCH_SIZE):
        batch_seeds = seeds[start : start + _BATCH_SIZE]
        generated = _generate_batch(model, request, precision, batch_seeds)
        for i, (seed, (text, reason)) in enumerate(zip(batch_seeds, generated, strict=True), first + start):
            label = choose_label(model.rules, request.label, seed)
            labeled = {} if label is None else {"label": label}
            rows.append(json_row({"number": i, "seed": seed, **labeled, "text": text, "finish_reason": reason}))
            characters += len(text) - len(request.prompt)
    job.write_part(number, rows, characters=characters)
    return {"texts": count, "characters": characters}


def _request(options: Mapping[str, Any]) -> tuple[Request, str]:
    """Validate the options of a job; each text has its own seed instead of the request's."""
    options = dict(options)
    prompt, length, temperature = (options.pop(name) for name in ("prompt", "length", "temperature"))
    return make_request(prompt, length, temperature, 0, options)


def _generate_batch(model: Model, request: Request, precision: str, seeds: list[int]) -> list[tuple[str, str]]:
    """Generate a text for each seed; return pairs (text, finish reason)."""
    engine, vocabulary, rules = model.engine_for(precision), model.vocabulary, model.rules
    request = with_rules(request, rules)
    labels = [choose_label(rules, request.label, seed) for seed in seeds]
    ids = [prompt_ids(vocabulary, request.prompt, request.unknown, rules, label) for label in labels]
    bias = allowed_bias(vocabulary, request.sampling)
    cursor = prompts_cursor(engine, ids, request.sampling, np.array(seeds, np.uint64))
    texts, reasons = [[request.prompt] for _ in seeds], [""] * len(seeds)
    for piece in continue_text(engine, vocabulary, cursor, request, bias):
        texts[piece.sample].append(piece.text)
        reasons[piece.sample] = piece.finish_reason or ""
    return [("".join(text), reason) for text, reason in zip(texts, reasons, strict=True)]
