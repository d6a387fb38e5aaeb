"""Continuous batching: each sequence equals its single generation while others join, leave or pause."""

import asyncio
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charloom.errors import SettingsError, UnknownCharacterError
from charloom.inference.batching import ContinuousBatch, SequenceRequest
from charloom.inference.generation import prompt_ids
from charloom.inference.generation_options import Ending, Sampling
from charloom.inference.model import Model
from charloom.inference.prefix_cache import PrefixCache, PrefixState
from charloom.serve.scheduler import Overloaded, Scheduler, ShuttingDown
from support.errors import raises_code
from support.models import tiny_saved

MODELS = {cell: Model(tiny_saved(cell)) for cell in ("gru", "lstm")}
MODEL = MODELS["gru"]
SAMPLINGS = [
    Sampling(1.0),
    Sampling(0),
    Sampling(0.7, top_k=3),
    Sampling(1.3, top_p=0.8, repetition_penalty=1.4, repetition_window=5),
    Sampling(1.0, min_p=0.1, presence_penalty=0.6, frequency_penalty=-0.3, forbid="a"),
]


def batch_of(model=MODEL, **options):
    return ContinuousBatch(model.engine_for("auto"), model.vocabulary, **options)


def request(prompt, length, model=MODEL, **options):
    return SequenceRequest(prompt_ids(model.vocabulary, prompt), length, **options)


def finished(batch, texts=None):
    """Step until the batch is idle; return text and finish reason by key."""
    texts = {} if texts is None else texts
    while not batch.idle:
        for part in batch.step():
            previous, _ = texts.get(part.key, ("", None))
            texts[part.key] = previous + part.text, part.finish_reason
    return texts


def single(model, prompt, length, sampling, seed, ending):
    """Generate the same text with ``generate``; return it without the prompt, and its finish reason."""
    from charloom.inference.generation import Request, generate

    arguments = Request(prompt, length, sampling, ending, seed)
    pieces = list(generate(model.engine_for("auto"), model.vocabulary, arguments))
    return "".join(piece.text for piece in pieces)[len(prompt) :], pieces[-1].finish_reason


CASES = st.tuples(
    st.text("abcde\n", max_size=12),
    st.integers(0, 90),
    st.sampled_from(SAMPLINGS),
    st.integers(0, 50),
    st.sampled_from([Ending(), Ending(("b",)), Ending(("dd", "ab")), Ending((), 2)]),
)


@pytest.mark.parametrize("cell", MODELS)
@settings(max_examples=60, deadline=None)
@given(cases=st.lists(st.tuples(CASES, st.integers(0, 3)), min_size=1, max_size=9))
def test_a_sequence_of_a_batch_equals_generate(cell, cases):
    model, texts, keys = MODELS[cell], {}, []
    batch = batch_of(model, max_active=5)
    for (prompt, length, sampling, seed, ending), steps in cases:
        for _ in range(steps):  # earlier sequences advance
            for part in batch.step():
                texts[part.key] = texts.get(part.key, ("", None))[0] + part.text, part.finish_reason
        keys.append(batch.add(request(prompt, length, model, sampling=sampling, seed=seed, ending=ending)))
    finished(batch, texts)
    for key, ((prompt, length, sampling, seed, ending), _) in zip(keys, cases, strict=True):
        assert texts[key] == single(model, prompt, length, sampling, seed, ending)
    assert len(batch) == 0


def test_removing_and_pausing_sequences_does_not_change_the_rest():
    batch = batch_of()
    keys = [batch.add(request("ab", 3000, seed=seed)) for seed in range(6)]
    texts = {}
    for part in [part for _ in range(3) for part in batch.step()]:
        texts[part.key] = texts.get(part.key, ("", None))[0] + part.text, part.finish_reason
    batch.remove(keys[1])
    batch.pause(keys[2])
    batch.pause(keys[4])
    finished(batch, texts)
    assert texts[keys[2]][1] is None and len(batch) == 2
    batch.remove(keys[4])
    batch.resume(keys[2])
    batch.resume(keys[2])
    finished(batch, texts)
    for seed in (0, 2, 3, 5):
        assert texts[keys[seed]] == single(MODEL, "ab", 3000, Sampling(), seed, Ending())


def test_a_short_sequence_does_not_wait_for_a_long_one():
    batch = batch_of()
    long, short = batch.add(request("ab", 100_000)), batch.add(request("ab", 40))
    for _ in range(4):
        if any(part.key == short and part.finish_reason for part in batch.step()):
            break
    else:
        pytest.fail("40 characters took more than 4 steps")
    batch.remove(long)


def test_a_long_prompt_does_not_delay_other_sequences():
    batch = batch_of()
    batch.add(request("abcde" * 2000, 10))
    short = batch.add(request("ab", 10))
    keys = [part.key for _ in range(4) for part in batch.step()]
    assert short in keys


def test_cached_prefixes_are_not_processed_again():
    batch = batch_of()
    first = batch.add(request("abcd", 500, seed=3))
    text = "abcd" + finished(batch)[first][0]
    processed = batch.prompt_characters
    assert processed == 4
    batch.add(request(text, 20, seed=3))
    finished(batch)
    assert batch.prompt_characters == processed and batch.cache_hits == 1
    batch.add(request(text + "abc", 20))
    finished(batch)
    assert batch.prompt_characters == processed + 3


def test_a_shared_prompt_is_processed_once():
    batch = batch_of()
    for seed in range(8):
        batch.add(request("abcde" * 400, 5, seed=seed))
    finished(batch)
    assert batch.prompt_characters == 2000


def test_a_bias_is_added_to_logits():
    batch, vocabulary = batch_of(), MODEL.vocabulary
    a, b = vocabulary.encode("ab").tolist()
    keys = [batch.add(request("c", 50, bias={a: 100.0})), batch.add(request("c", 50, bias={a: 100.0, b: 200.0}))]
    texts = finished(batch)
    assert [texts[key][0] for key in keys] == ["a" * 50, "b" * 50]


@pytest.mark.parametrize("cell", MODELS)
def test_log_probs_of_tokens_equal_the_score(cell):
    model = MODELS[cell]
    batch = ContinuousBatch(model.engine("float32"), model.vocabulary)
    batch.add(request("ab", 300, model, sampling=Sampling(0.9, top_k=5), top_logprobs=3, ending=Ending(("ccc",))))
    batch.add(request("ba", 100, model))
    tokens = [token for _ in range(400) for part in batch.step() if part.tokens for token in part.tokens]
    text = "ab" + "".join(token.text for token in tokens)
    expected = -model.score(text).surprisals[1:] * math.log(2)
    assert np.allclose([token.log_prob for token in tokens], expected, atol=1e-5)
    predictions = model.top_guesses(text, 3)
    for position, token in enumerate(tokens):
        assert len(token.top_logprobs) == 3
        assert [character for character, _ in token.top_logprobs] == list(predictions.characters[1 + position])
        for character, log_prob in token.top_logprobs:
            assert log_prob <= token.top_logprobs[0][1]
            assert character != token.text or log_prob == token.log_prob


def test_invalid_requests_are_rejected():
    batch = batch_of()
    with raises_code("invalid_setting", SettingsError, name="length", value=-1):
        batch.add(request("a", -1))
    with raises_code("invalid_setting", SettingsError, name="seed", value=-1):
        batch.add(request("a", 1, seed=-1))
    with pytest.raises(UnknownCharacterError):
        batch.add(request("a", 1, sampling=Sampling(forbid="é")))
    assert batch.idle


def test_the_prefix_cache_evicts_the_least_recently_used_state():
    def state_after(length):
        return PrefixState(length, np.zeros((1, 5), np.float32), np.zeros((1, 1, 1, 20), np.float32))

    cache = PrefixCache(3 * state_after(1).nbytes)
    ids = np.arange(10)
    for length in (2, 4, 6):
        cache.put(ids[:length], state_after(length))
    assert cache.longest(ids[:5]).length == 4
    assert cache.longest(np.array([7, 8])) is None
    cache.longest(ids[:2])
    cache.put(ids, state_after(10))  # evicts 6, the least recently used
    assert cache.longest(ids[:9]).length == 4
    assert len(cache) == 3


def run(work):
    """Return a function that runs ``work`` on an event loop with a scheduler and then closes the scheduler."""

    async def with_scheduler(**options):
        scheduler = Scheduler(MODEL, **options)
        scheduler.start()
        try:
            return await work(scheduler)
        finally:
            scheduler.close()

    return lambda **options: asyncio.run(asyncio.wait_for(with_scheduler(**options), 60))


async def texts_of(job):
    texts = {}
    while True:
        try:
            parts = await job.next()
        except StopAsyncIteration:
            return texts
        for part in parts:
            texts[part.key] = texts.get(part.key, ("", None))[0] + part.text, part.finish_reason


def test_jobs_of_a_scheduler_run_in_one_batch():
    async def work(scheduler):
        jobs = [scheduler.submit([request("ab", 700, seed=s), request("c", 30, seed=s)]) for s in range(5)]
        return await asyncio.gather(*(texts_of(job) for job in jobs))

    for seed, texts in enumerate(run(work)()):
        assert texts[0] == single(MODEL, "ab", 700, Sampling(), seed, Ending())
        assert texts[1] == single(MODEL, "c", 30, Sampling(), seed, Ending())


def test_scheduler_rejects_jobs_above_its_limit():
    async def work(scheduler):
        job = scheduler.submit([request("ab", 10**6)] * 3)
        with raises_code("too_many_requests", Overloaded, texts=3, limit=4):
            scheduler.submit([request("ab", 1)] * 2)
        job.cancel()
        job.cancel()
        return await texts_of(scheduler.submit([request("ab", 1)] * 4))

    assert len(run(work)(max_sequences=2, max_waiting=2)) == 4


def test_a_cancelled_job_stops():
    async def work(scheduler):
        job = scheduler.submit([request("ab", 10**7)])
        await job.next()
        job.cancel()
        await texts_of(scheduler.submit([request("ab", 1)]))
        assert scheduler.stats.active == 0
        count = scheduler.stats.characters
        await asyncio.sleep(0.1)
        assert scheduler.stats.characters == count

    run(work)()


def test_a_job_without_a_reader_pauses_and_resumes():
    async def work(scheduler):
        job = scheduler.submit([request("ab", 30_000, seed=4)])
        await asyncio.sleep(0.3)
        assert scheduler.stats.characters < 10_000
        return await texts_of(job)

    assert run(work)(max_unread=2000)[0] == single(MODEL, "ab", 30_000, Sampling(), 4, Ending())


def test_closing_a_scheduler_stops_its_jobs():
    async def work(scheduler):
        job = scheduler.submit([request("ab", 10**7)])
        await job.next()
        scoring = asyncio.create_task(scheduler.score(MODEL.vocabulary.encode("ab" * 200_000)))
        await asyncio.sleep(0)
        unstarted = scheduler.submit([request("ab", 10**7)])
        scheduler.close()
        for open_job in (job, unstarted):
            with pytest.raises(ShuttingDown):
                while True:
                    await open_job.next()
        with pytest.raises(ShuttingDown):
            await scoring
        with pytest.raises(ShuttingDown):
            scheduler.submit([request("ab", 1)])

    async def with_scheduler():
        scheduler = Scheduler(MODEL)
        scheduler.start()
        await work(scheduler)

    asyncio.run(asyncio.wait_for(with_scheduler(), 20))


def test_the_scheduler_scores_like_the_model():
    text = "abcdeabc" * 120

    async def work(scheduler):
        job = scheduler.submit([request("ab", 20_000)])
        scores = await scheduler.score(MODEL.vocabulary.encode(text), 4)
        job.cancel()
        return scores

    scores = run(work)()
    assert np.allclose(-scores.log_probs / math.log(2), MODEL.score(text).surprisals, atol=1e-9)
    assert scores.top_ids.shape == scores.top_log_probs.shape == (len(text), 4)
    predictions = MODEL.top_guesses(text, 4)
    assert np.allclose(np.exp(scores.top_log_probs), predictions.probabilities)


def test_a_crash_of_the_worker_thread_fails_all_jobs(monkeypatch):
    import threading

    monkeypatch.setattr(threading, "excepthook", lambda _: None)  # suppress the traceback on stderr

    async def work(scheduler):
        monkeypatch.setattr(ContinuousBatch, "step", lambda self: 1 / 0)
        job = scheduler.submit([request("ab", 10)])
        with pytest.raises(Exception, match="division"):
            await job.next()

    run(work)()
