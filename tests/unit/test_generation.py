import dataclasses
import inspect
import pickle
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charloom.data.vocabulary.characters import Vocabulary, replacement_character
from charloom.errors import SettingsError, UnknownArgumentError, UnknownCharacterError
from charloom.inference.engines.base import Cursor
from charloom.inference.engines.factory import make_engine
from charloom.inference.generation import (
    Request,
    WritingOptions,
    cursor_after,
    generate,
    prefill,
    prompt_ids,
    start_character,
)
from charloom.inference.generation_options import DEFAULT_LENGTH, PRECISIONS, UNKNOWN, Ending, Sampling
from charloom.inference.model import Model
from charloom.inference.sampling import sample_seeds
from charloom.inference.scoring import score
from support.errors import raises_code
from support.models import tiny_saved

MODELS = {cell: Model(tiny_saved(cell)) for cell in ("gru", "lstm")}
cells = pytest.mark.parametrize("cell", ["gru", "lstm"])


@cells
@settings(max_examples=30, deadline=None)
@given(st.text("abcde\n ", max_size=20), st.integers(0, 60), st.integers(0, 2**53 - 1))
def test_a_text_begins_with_the_prompt_and_has_the_requested_length(cell, prompt, length, seed):
    request = Request(prompt, length, Sampling(1.0), seed=seed)
    pieces = list(generate(MODELS[cell].engine("int8"), MODELS[cell].vocabulary, request))
    text = "".join(piece.text for piece in pieces)
    assert text.startswith(prompt) and len(text) == len(prompt) + length
    assert [p.finish_reason for p in pieces] == [None] * (len(pieces) - 1) + ["length"]
    assert MODELS[cell].generate(prompt, length, 1.0, seed) == text


@cells
def test_a_sample_equals_a_single_generation_with_its_seed(cell):
    model, samples = MODELS[cell], {}
    for piece in model.pieces(Request("ab", 100, Sampling(0.9), seed=4, samples=5)):
        samples[piece.sample] = samples.get(piece.sample, "") + piece.text
    singles = [model.generate("ab", 100, 0.9, seed) for seed in sample_seeds(4, 5)]
    assert list(samples.values()) == singles
    assert len(set(singles)) == 5


@cells
def test_the_chunk_size_does_not_change_the_text(cell):
    engine = MODELS[cell].engine()
    logits, state = prefill(engine, np.array([2, 3, 4]))

    def sample_in(*chunks):
        cursor = Cursor(state, logits, np.array([7], np.uint64))
        return np.concatenate([engine.sample(cursor, n, Sampling(1.0)).ids for n in chunks], axis=1).tolist()

    assert sample_in(60) == sample_in(1, 59) == sample_in(13, 0, 40, 7)


@cells
def test_a_state_can_be_branched(cell):
    engine = MODELS[cell].engine()
    logits, state = prefill(engine, np.array([2, 3, 4]))
    branches = [Cursor(state, logits, np.array([seed], np.uint64)) for seed in (1, 2, 1)]
    first, second, third = (engine.sample(cursor, 40, Sampling(1.0)).ids.tolist() for cursor in branches)
    assert first == third != second


@cells
def test_the_score_is_the_negative_sum_of_the_log_probs_of_generation(cell):
    """Sum the surprisals while a text is generated character by character; the score of the text is the same."""
    model = MODELS[cell]
    prompt = "ab"
    logits, state = prefill(model.engine(), model.vocabulary.encode(prompt))
    cursor = Cursor(state, logits, np.array([3], np.uint64))
    nats, ids = 0.0, list(model.vocabulary.encode(prompt))
    for _ in range(700):
        exact = cursor.logits[0].astype(np.float64)
        log_probs = exact - np.log(np.exp(exact).sum())
        ids.append(int(model.engine().sample(cursor, 1, Sampling(1.0)).ids[0, 0]))
        nats -= log_probs[ids[-1]]
    text = model.vocabulary.decode(ids)
    after_prompt = model.score(text).surprisals[len(prompt) - 1 :].sum() * np.log(2)
    assert after_prompt == pytest.approx(nats, rel=1e-6)
    assert text == model.generate(prompt, 700, 1.0, 3, precision="float32")


def test_a_long_prompt_in_blocks_gives_the_same_logits():
    model = MODELS["gru"]
    ids = model.vocabulary.encode("abcde\n " * 120)
    engine = model.engine()
    whole, _ = engine.forward(ids[None].astype(np.intp), engine.initial_state(1))
    np.testing.assert_allclose(prefill(engine, ids)[0], whole[:, -1], atol=1e-5)


def test_without_a_prompt_a_text_starts_as_after_a_line_feed():
    model = MODELS["gru"]
    assert model.generate("\n", 50, 1.0, 2)[1:] == model.generate("", 50, 1.0, 2)
    assert [start_character(Vocabulary(v)) for v in ("a \n", "ab ", "ba")] == ["\n", " ", "b"]


def test_an_unknown_character_in_the_prompt_is_rejected():
    with raises_code("unknown_character", UnknownCharacterError, count=1) as caught:
        MODELS["gru"].generate("abz")
    assert [c["name"] for c in caught.value.data["characters"]] == ["LATIN SMALL LETTER Z"]


@pytest.mark.parametrize("arguments", [{"length": -1}, {"samples": 0}, {"samples": 1025}, {"seed": -1}])
def test_values_out_of_range_are_rejected(arguments):
    model = MODELS["gru"]
    with pytest.raises(SettingsError):
        generate(model.engine(), model.vocabulary, Request(**arguments))


def test_the_score_of_a_short_text_by_hand():
    model = MODELS["gru"]
    engine = make_engine(model.saved)
    logits, _ = engine.forward(np.array([[2]]), engine.initial_state(1))  # after "a"
    exact = logits[0, 0].astype(np.float64)
    nats = np.log(np.exp(exact).sum()) - exact[3]  # "b" follows
    result = score(engine, model.vocabulary, "ab")
    assert result.characters == 1
    assert result.total_nats == pytest.approx(nats, rel=1e-12)
    assert result.bits_per_char == pytest.approx(nats / np.log(2), rel=1e-12)
    assert result.perplexity == pytest.approx(np.exp(nats), rel=1e-12)


@cells
def test_a_stopped_text_is_a_prefix_of_the_full_text(cell):
    model = MODELS[cell]
    whole = model.generate("", 300, 1.0, 6)
    stop = whole[100:103]
    assert model.generate("", 300, 1.0, 6, stop=stop) == whole[: whole.index(stop)]
    assert model.generate("", 300, 1.0, 6, max_lines=3) == "\n".join(whole.split("\n")[:3])


def test_samples_that_have_stopped_do_not_change_the_rest():
    model, texts, reasons = MODELS["gru"], {}, {}
    for piece in model.pieces(Request("", 200, Sampling(1.0), Ending(stop=("ab",)), seed=3, samples=20)):
        texts[piece.sample] = texts.get(piece.sample, "") + piece.text
        reasons[piece.sample] = piece.finish_reason
    assert set(reasons.values()) == {"length", "stop"}
    for (sample, text), seed in zip(texts.items(), sample_seeds(3, 20), strict=True):
        single = model.generate("", 200, 1.0, seed)
        assert text == (single if reasons[sample] == "length" else single[: single.index("ab")])
        assert ("ab" in single) == (reasons[sample] == "stop")


def test_log_probs_equal_the_score():
    model = MODELS["lstm"]
    request = Request("ab", 60, Sampling(0.7, top_k=4), Ending(stop=("cab",)), seed=1, log_probs=True)
    pieces = list(model.pieces(request, "float32"))
    text = "".join(piece.text for piece in pieces)
    log_probs = [log_prob for piece in pieces for log_prob in piece.log_probs]
    expected = model.score(text).surprisals[1:] * -np.log(2)
    np.testing.assert_allclose(log_probs, expected, atol=1e-5)


def test_unknown_characters_of_a_prompt_can_be_skipped_or_replaced():
    vocabulary = MODELS["gru"].vocabulary
    assert prompt_ids(vocabulary, "aZb", "skip").tolist() == vocabulary.encode("ab").tolist()
    assert prompt_ids(vocabulary, "aZb", "replace").tolist() == vocabulary.encode("a b").tolist()
    assert replacement_character(Vocabulary("ab")) == "a" and replacement_character(Vocabulary("a\ufffd ")) == "\ufffd"
    assert MODELS["gru"].generate("aZb", 5, seed=1, unknown="skip").startswith("aZb")
    accepted = ["error", "skip", "replace"]
    with raises_code("invalid_setting", SettingsError, name="unknown", value="drop", accepted=accepted):
        MODELS["gru"].generate("a", unknown="drop")


def test_the_repetition_penalty_includes_the_prompt():
    engine, vocabulary = MODELS["gru"].engine(), MODELS["gru"].vocabulary
    ids, seeds = vocabulary.encode("abc"), np.array([1], np.uint64)
    prefix = prefill(engine, ids)
    for window, recent in ((5, [-1, -1, *ids.tolist()]), (2, ids[1:].tolist())):
        sampling = Sampling(repetition_penalty=2.0, repetition_window=window)
        assert cursor_after(ids, *prefix, sampling, seeds).recent.tolist() == [recent]
    assert cursor_after(ids, *prefix, Sampling(), seeds).recent.shape == (1, 0)


@pytest.mark.parametrize(
    ("name", "suggestions"),
    [("temprature", ["temperature"]), ("max_tokens", ["length"]), ("max_new_tokens", ["length"]), ("k", ["top_k"]),
     ("lenght", ["length"]), ("start_string", ["prompt"]), ("num_samples", []), ("frobnicate", []),
     ("max_token", ["length"]), ("min_tokens", []), ("details", ["complete"]), ("logprobs", ["complete"]),
     ("log_probs", ["complete"])],
)  # fmt: skip
@pytest.mark.parametrize("method", ["generate", "complete", "stream"])
def test_unknown_keyword_arguments_are_type_errors_with_a_suggestion(method, name, suggestions):
    with raises_code("unknown_option", UnknownArgumentError, name=name, suggestions=suggestions) as caught:
        getattr(MODELS["gru"], method)("a", **{name: 1})
    assert isinstance(caught.value, TypeError)
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), UnknownArgumentError)


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", "hot"), ("length", 10.5), ("prompt", 5), ("seed", "1"), ("top_k", 2.5), ("stop", 5), ("label", 5),
     ("allow", 5), ("unknown", 5), ("precision", 5), ("max_lines", "2"), ("top_p", None)],
)  # fmt: skip
@pytest.mark.parametrize("method", ["generate", "complete"])
def test_wrong_types_are_reported_with_the_name_of_the_argument(method, name, value):
    with raises_code("invalid_setting", SettingsError, name=name, value=value):
        getattr(MODELS["gru"], method)(**{name: value})


def test_complete_returns_the_text_without_the_prompt_and_its_details():
    model = MODELS["gru"]
    completion = model.complete("ab", 20, seed=4)
    assert "ab" + completion.text == model.generate("ab", 20, seed=4)
    assert (completion.finish_reason, completion.seed) == ("length", 4)
    request = Request("ab", 20, seed=4, sampling=Sampling(0.8), log_probs=True)
    pieces = [piece.log_probs for piece in model.pieces(request)]
    assert completion.log_probs == tuple(value for piece in pieces for value in piece)
    assert len(completion.log_probs) == len(completion.text) == 20
    stopped = model.complete("ab", 20, seed=4, stop=completion.text[5:7])
    assert stopped.finish_reason == "stop" and completion.text.startswith(stopped.text)
    assert len(stopped.log_probs) == len(stopped.text) <= 5
    assert model.complete("ab", 0).text == "" and model.complete("ab", 0).finish_reason == "length"


def test_complete_accepts_a_list_of_prompts():
    model = MODELS["gru"]
    texts = ["ab", "", "ba"]
    completions = model.complete(texts, 9, seed=4)
    assert [p + c.text for p, c in zip(texts, completions, strict=True)] == model.generate(texts, 9, seed=4)
    assert [c.seed for c in completions] == sample_seeds(4, 3)
    assert all(model.complete(p, 9, seed=c.seed) == c for p, c in zip(texts, completions, strict=True))
    assert model.complete([]) == []


@pytest.mark.parametrize("method", [Model.generate, Model.complete])
def test_help_lists_all_options_with_their_defaults_and_ranges(method):
    """Defaults and ranges in the text are those of ``Sampling``, ``Ending`` and ``Request``."""
    lines = " ".join(inspect.getdoc(method).split())
    defaults = {field.name: field.default for field in dataclasses.fields(Sampling)}
    defaults |= {"length": DEFAULT_LENGTH, "prompt": "", "seed": None, "stop": None, "max_lines": None, "label": None}
    defaults |= {"unknown": Request().unknown, "precision": PRECISIONS[0]}
    assert set(defaults) == {"prompt", "length", "temperature", "seed", *WritingOptions.__annotations__}
    for name, default in defaults.items():
        entry = lines.partition(f" {name}: ")[2].partition(" Default: ")
        shown = f'"{default}"' if isinstance(default, str) else f"{default:g}" if default is not None else "None"
        assert entry[2].startswith(f"{shown}."), name
        if name != "seed" and (limits := re.search(r"in ([\[(])([-.\d]+), ([-.\d]+)\]", entry[0])):
            kind = type(default) if default is not None else int
            low, high = kind(limits[2]), kind(limits[3])
            step = 1 if kind is int else 0.001
            for accepted in (high, low + step if limits[1] == "(" else low):
                Sampling(**{name: accepted})
            for rejected in (high + step, low if limits[1] == "(" else low - step):
                with raises_code("invalid_setting", SettingsError, name=name):
                    Sampling(**{name: rejected})
    for choice in (*PRECISIONS, *UNKNOWN):
        assert f'"{choice}"' in lines


def test_a_misspelled_option_is_rejected_with_a_suggestion():
    with raises_code("unknown_option", SettingsError, name="topk", suggestions=["top_k"]):
        MODELS["gru"].generate("a", topk=3)
    with raises_code("invalid_setting", SettingsError, name="precision", value="int4"):
        MODELS["gru"].generate("a", precision="int4")
