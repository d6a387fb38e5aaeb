"""Many writers at once: each text is what it is alone, whoever joins, leaves or pauses beside it."""

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


def writing(prompt, length, model=MODEL, **options):
    return SequenceRequest(prompt_ids(model.vocabulary, prompt), length, **options)


def finished(batch, texts=None):
    """Step until nothing is left; return each text and why it ended."""
    texts = {} if texts is None else texts
    while not batch.idle:
        for part in batch.step():
            before, _ = texts.get(part.key, ("", None))
            texts[part.key] = before + part.text, part.finish_reason
    return texts


def alone(model, prompt, length, sampling, seed, ending):
    """The same by ``generate``."""
    from charloom.inference.generation import Request, generate

    request = Request(prompt, length, sampling, ending, seed)
    pieces = list(generate(model.engine_for("auto"), model.vocabulary, request))
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
def test_a_text_is_what_it_is_alone_whoever_joins(cell, cases):
    model, texts, keys = MODELS[cell], {}, []
    batch = batch_of(model, max_active=5)
    for (prompt, length, sampling, seed, ending), steps in cases:
        for _ in range(steps):  # the others are on their way
            for part in batch.step():
                texts[part.key] = texts.get(part.key, ("", None))[0] + part.text, part.finish_reason
        keys.append(batch.add(writing(prompt, length, model, sampling=sampling, seed=seed, ending=ending)))
    finished(batch, texts)
    for key, ((prompt, length, sampling, seed, ending), _) in zip(keys, cases, strict=True):
        assert texts[key] == alone(model, prompt, length, sampling, seed, ending)
    assert len(batch) == 0


def test_texts_that_leave_or_pause_change_nothing_for_the_others():
    batch = batch_of()
    keys = [batch.add(writing("ab", 3000, seed=seed)) for seed in range(6)]
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
        assert texts[keys[seed]] == alone(MODEL, "ab", 3000, Sampling(), seed, Ending())


def test_no_text_waits_for_a_longer_one():
    batch = batch_of()
    long, short = batch.add(writing("ab", 100_000)), batch.add(writing("ab", 40))
    for _ in range(4):
        if any(part.key == short and part.finish_reason for part in batch.step()):
            break
    else:
        pytest.fail("forty characters took more than four steps")
    batch.remove(long)


def test_a_long_prompt_holds_nobody_up():
    batch = batch_of()
    batch.add(writing("abcde" * 2000, 10))
    short = batch.add(writing("ab", 10))
    written = [part.key for _ in range(4) for part in batch.step()]
    assert short in written


def test_what_was_read_or_written_is_not_read_again():
    batch = batch_of()
    first = batch.add(writing("abcd", 500, seed=3))
    text = "abcd" + finished(batch)[first][0]
    read = batch.prompt_characters
    assert read == 4
    batch.add(writing(text, 20, seed=3))
    finished(batch)
    assert batch.prompt_characters == read and batch.cache_hits == 1
    batch.add(writing(text + "abc", 20))
    finished(batch)
    assert batch.prompt_characters == read + 3


def test_eight_texts_of_one_prompt_read_it_once():
    batch = batch_of()
    for seed in range(8):
        batch.add(writing("abcde" * 400, 5, seed=seed))
    finished(batch)
    assert batch.prompt_characters == 2000


def test_a_bias_is_added_to_logits():
    batch, vocabulary = batch_of(), MODEL.vocabulary
    a, b = vocabulary.encode("ab").tolist()
    keys = [batch.add(writing("c", 50, bias={a: 100.0})), batch.add(writing("c", 50, bias={a: 100.0, b: 200.0}))]
    texts = finished(batch)
    assert [texts[key][0] for key in keys] == ["a" * 50, "b" * 50]


@pytest.mark.parametrize("cell", MODELS)
def test_tokens_cost_what_the_score_says(cell):
    model = MODELS[cell]
    batch = ContinuousBatch(model.engine("float32"), model.vocabulary)
    batch.add(writing("ab", 300, model, sampling=Sampling(0.9, top_k=5), top_logprobs=3, ending=Ending(("ccc",))))
    batch.add(writing("ba", 100, model))
    tokens = [token for _ in range(400) for part in batch.step() if part.tokens for token in part.tokens]
    text = "ab" + "".join(token.text for token in tokens)
    expected = -model.score(text).surprisals[1:] * math.log(2)
    assert np.allclose([token.log_prob for token in tokens], expected, atol=1e-5)
    guesses = model.top_guesses(text, 3)
    for place, token in enumerate(tokens):
        assert len(token.top_logprobs) == 3
        assert [character for character, _ in token.top_logprobs] == list(guesses.characters[1 + place])
        for character, cost in token.top_logprobs:
            assert cost <= token.top_logprobs[0][1]
            assert character != token.text or cost == token.log_prob


def test_what_cannot_be_written_is_refused():
    batch = batch_of()
    with raises_code("invalid_setting", SettingsError, name="length", value=-1):
        batch.add(writing("a", -1))
    with raises_code("invalid_setting", SettingsError, name="seed", value=-1):
        batch.add(writing("a", 1, seed=-1))
    with pytest.raises(UnknownCharacterError):
        batch.add(writing("a", 1, sampling=Sampling(forbid="é")))
    assert batch.idle


def test_a_cache_of_states_forgets_what_was_used_longest_ago():
    def behind(length):
        return PrefixState(length, np.zeros((1, 5), np.float32), np.zeros((1, 1, 1, 20), np.float32))

    cache = PrefixCache(3 * behind(1).nbytes)
    ids = np.arange(10)
    for length in (2, 4, 6):
        cache.put(ids[:length], behind(length))
    assert cache.longest(ids[:5]).length == 4
    assert cache.longest(np.array([7, 8])) is None
    cache.longest(ids[:2])
    cache.put(ids, behind(10))  # 6 goes: it was used longest ago
    assert cache.longest(ids[:9]).length == 4
    assert len(cache) == 3


def run(work):
    """Run something on an event loop, with a scheduler that is closed in the end."""

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


def test_jobs_of_a_scheduler_are_written_together():
    async def work(scheduler):
        jobs = [scheduler.submit([writing("ab", 700, seed=s), writing("c", 30, seed=s)]) for s in range(5)]
        return await asyncio.gather(*(texts_of(job) for job in jobs))

    for seed, texts in enumerate(run(work)()):
        assert texts[0] == alone(MODEL, "ab", 700, Sampling(), seed, Ending())
        assert texts[1] == alone(MODEL, "c", 30, Sampling(), seed, Ending())


def test_a_scheduler_says_when_too_much_waits():
    async def work(scheduler):
        job = scheduler.submit([writing("ab", 10**6)] * 3)
        with pytest.raises(Overloaded, match="at most 4"):
            scheduler.submit([writing("ab", 1)] * 2)
        job.cancel()
        job.cancel()
        return await texts_of(scheduler.submit([writing("ab", 1)] * 4))

    assert len(run(work)(max_sequences=2, max_waiting=2)) == 4


def test_a_job_that_is_cancelled_is_written_no_further():
    async def work(scheduler):
        job = scheduler.submit([writing("ab", 10**7)])
        await job.next()
        job.cancel()
        await texts_of(scheduler.submit([writing("ab", 1)]))
        assert scheduler.stats.active == 0
        count = scheduler.stats.characters
        await asyncio.sleep(0.1)
        assert scheduler.stats.characters == count

    run(work)()


def test_a_job_that_nobody_reads_pauses_and_goes_on():
    async def work(scheduler):
        job = scheduler.submit([writing("ab", 30_000, seed=4)])
        await asyncio.sleep(0.3)
        assert scheduler.stats.characters < 10_000
        return await texts_of(job)

    assert run(work)(max_unread=2000)[0] == alone(MODEL, "ab", 30_000, Sampling(), 4, Ending())


def test_closing_a_scheduler_ends_its_jobs():
    async def work(scheduler):
        job = scheduler.submit([writing("ab", 10**7)])
        await job.next()
        reading = asyncio.create_task(scheduler.score(MODEL.vocabulary.encode("ab" * 200_000)))
        await asyncio.sleep(0)
        just_now = scheduler.submit([writing("ab", 10**7)])
        scheduler.close()
        for one in (job, just_now):
            with pytest.raises(ShuttingDown):
                while True:
                    await one.next()
        with pytest.raises(ShuttingDown):
            await reading
        with pytest.raises(ShuttingDown):
            scheduler.submit([writing("ab", 1)])

    async def whole():
        scheduler = Scheduler(MODEL)
        scheduler.start()
        await work(scheduler)

    asyncio.run(asyncio.wait_for(whole(), 20))


def test_a_text_is_read_as_the_score_reads_it():
    text = "abcdeabc" * 120

    async def work(scheduler):
        job = scheduler.submit([writing("ab", 20_000)])
        reading = await scheduler.score(MODEL.vocabulary.encode(text), 4)
        job.cancel()
        return reading

    reading = run(work)()
    assert np.allclose(-reading.log_probs / math.log(2), MODEL.score(text).surprisals, atol=1e-9)
    assert reading.top_ids.shape == reading.top_log_probs.shape == (len(text), 4)
    guesses = MODEL.top_guesses(text, 4)
    assert np.allclose(np.exp(reading.top_log_probs), guesses.probabilities)


def test_a_defect_leaves_nobody_waiting(monkeypatch):
    import threading

    monkeypatch.setattr(threading, "excepthook", lambda _: None)  # it is told to the terminal, too

    async def work(scheduler):
        monkeypatch.setattr(ContinuousBatch, "step", lambda self: 1 / 0)
        job = scheduler.submit([writing("ab", 10)])
        with pytest.raises(Exception, match="division"):
            await job.next()

    run(work)()
