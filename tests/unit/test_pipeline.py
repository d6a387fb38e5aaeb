"""The stages of the training pipeline and their notices."""

import numpy as np
import pytest

import charloom
from charloom.data.corpus import Corpus
from charloom.errors import CorpusError, SettingsError
from charloom.model.file.model_file import SavedModel
from charloom.model.initializers import initial_weights
from charloom.planning.recipes import RECIPES
from charloom.planning.settings import Settings
from charloom.training import pipeline
from charloom.training.pipeline import (
    TrainingRequest,
    build_vocabulary,
    choose_settings,
    complete_plan,
    encode_on_device,
    measure,
    prepare,
)
from support.errors import codes, raises_code

SMALL = {"hidden_size": 8, "num_layers": 1, "embedding_size": 4, "batch_size": 4, "steps": 30}


@pytest.fixture(scope="module")
def corpus(text):
    return Corpus(text, "weaving")


def request(corpus, **options):
    return TrainingRequest(corpus, RECIPES["auto"].with_values(SMALL), "cpu", **options)


def model(characters):
    vocabulary = Corpus(characters).vocabulary
    architecture = Settings(**{**Settings().to_dict(), **SMALL, "minutes": 0.0}).architecture(len(vocabulary))
    return SavedModel(architecture, vocabulary, initial_weights(architecture, 1))


def test_stages_add_their_results(corpus):
    text = build_vocabulary(request(corpus))
    assert text.vocabulary == corpus.vocabulary and len(text.parts.validation) > 0
    encoded = encode_on_device(text)
    assert (len(encoded.training), len(encoded.validation)) == (len(text.parts.training), len(text.parts.validation))
    assert (encoded.device.name, encoded.settings) == ("cpu", text.settings)
    setup = choose_settings(encoded)
    assert setup.settings.precision == encoded.device.precision and setup.settings.hidden_size == 8
    assert setup.settings.weight_decay != Settings().weight_decay, "adapted to the text"
    plan = complete_plan(setup, measure(setup))
    assert plan.steps == 30 and plan.settings.eval_every and plan.settings.checkpoint_every
    assert plan.notices == tuple(setup.request.notices)
    assert setup.settings == prepare(request(corpus)).settings


def test_may_adapt_false_keeps_settings(corpus):
    setup = prepare(request(corpus, may_adapt=False))
    requested = RECIPES["auto"].with_values(SMALL).settings
    assert setup.settings == requested.with_values({"precision": setup.device.precision})


def test_initial_model_keeps_sizes_and_extends_vocabulary(corpus):
    known = model("".join(sorted(corpus.vocabulary.characters))[:-2])
    new_request = TrainingRequest(corpus, RECIPES["auto"].with_values({"steps": 30}), "cpu", known)
    assert {"cell", "num_layers", "hidden_size", "embedding_size"} <= new_request.fixed
    setup = prepare(new_request)
    assert setup.vocabulary.characters.startswith(known.vocabulary.characters)
    assert len(setup.vocabulary) == len(known.vocabulary) + 2
    assert (setup.settings.hidden_size, setup.settings.embedding_size) == (8, 4)
    first, *_ = setup.request.notices
    new = corpus.vocabulary.characters[-2:]
    assert (first.code, first.data) == ("vocabulary_extended", {"corpus": "weaving", "characters": new})
    rows = len(known.vocabulary)
    assert np.array_equal(setup.weights["output.weight"][:rows], known.weights["output.weight"])
    assert setup.weights["output.bias"][rows:] == pytest.approx(known.weights["output.bias"].min())


def test_notices_are_in_stage_order(corpus, monkeypatch):
    monkeypatch.setattr("charloom.planning.heuristics._MAX_HELD_OUT", 100)
    lines = Corpus(corpus.text, "weaving", text_format=charloom.TextFormat(lines=True))
    known = model("".join(sorted(lines.vocabulary.characters))[:-1])
    recipe = RECIPES["auto"].with_values({"steps": 30})
    setup = prepare(TrainingRequest(lines, recipe, "cpu", known))
    plan = complete_plan(setup, measure(setup))
    expected = ["vocabulary_extended", "held_out_text_limited", "lines_are_texts", "warmup_shortened"]
    assert codes(plan.notices) == expected


@pytest.mark.parametrize(
    ("text", "options", "is_reported"),
    [
        ("one long line " * 2000, {"lines": True}, True),
        ("a line " * 1000 + "\n" + "b line " * 1000 + "\n", {"lines": True}, True),
        ("a short line\n" * 3, {"lines": True}, False),
        ("a longer line than those\n" * 1000, {"lines": True}, False),
        ("one long line " * 2000, {}, False),
    ],
)
def test_few_long_lines_are_reported(text, options, is_reported):
    corpus = Corpus(text, text_format=charloom.TextFormat(**options))
    recipe = RECIPES["auto"].with_values(SMALL | {"val_fraction": 0.0})
    plan = prepare(TrainingRequest(corpus, recipe, "cpu"))
    assert ("few_lines" in codes(plan.request.notices)) == is_reported


def test_steps_are_measured_only_for_minutes(corpus, monkeypatch):
    available = []
    monkeypatch.setattr(pipeline, "measure_step_seconds", lambda _, seconds: available.append(seconds) or 0.25)
    assert measure(prepare(request(corpus))).step_seconds == 0.0 and available == []
    recipe = RECIPES["auto"].with_values(SMALL | {"steps": 0, "minutes": 0.5})
    measured = measure(prepare(TrainingRequest(corpus, recipe, "cpu", may_adapt=False)))
    assert (measured.step_seconds, available) == (0.25, [30.0])
    assert measured.untrained_loss > 0 and measured.elapsed_seconds >= measured.evaluation_seconds > 0


@pytest.mark.parametrize(("text", "values", "error", "code"), [
    ("abc" * 10, {"val_fraction": 0.01}, CorpusError, "held_out_text_too_short"),
    ("abc" * 500, {"batching": "lines"}, SettingsError, "lines_option_missing"),
])  # fmt: skip
def test_text_that_does_not_suit_the_settings_raises(text, values, error, code):
    with raises_code(code, error):
        prepare(TrainingRequest(Corpus(text), RECIPES["auto"].with_values(SMALL | values), "cpu"))
