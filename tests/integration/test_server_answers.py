"""What the server answers: completions as OpenAI writes them, ids, costs, guesses."""

import math

import numpy as np
import pytest

import charloom
from charloom.inference.model import Model
from charloom.inference.sampling import sample_seeds
from charloom.model.file.model_file import SavedModel
from support.models import bytes_model, tiny_architecture, tiny_saved
from support.server import serving


def lines_model():
    saved = tiny_saved()
    return Model(SavedModel(saved.architecture, saved.vocabulary, saved.weights, lines=True))


@pytest.fixture(scope="module")
def models():
    return {
        "shakespeare": charloom.load("shakespeare"),
        "tiny": Model(tiny_saved("lstm")),
        "bytes": bytes_model(),
        "lines": lines_model(),
    }


@pytest.fixture(scope="module")
def server(models):
    with serving(models) as found:
        yield found


def written(answer):
    assert answer.status == 200, answer.body
    return [choice["text"] for choice in answer.json["choices"]]


def joined(answer):
    """Return the texts of a stream by their index."""
    events, done = answer.events
    assert done
    texts = {}
    for one in events:
        for choice in one["choices"]:
            texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
    return [texts[index] for index in sorted(texts)]


def test_a_completion_looks_as_clients_expect(server):
    answer = server.complete("ROMEO:", model="shakespeare", max_tokens=20, seed=7)
    found = answer.json
    assert answer.headers["Content-Type"] == "application/json"
    assert found["object"] == "text_completion" and found["id"].startswith("cmpl-")
    assert found["model"] == "shakespeare" and found["system_fingerprint"].startswith("fp_")
    assert found["seed"] == 7
    (choice,) = found["choices"]
    assert choice["index"] == 0 and choice["logprobs"] is None and choice["finish_reason"] == "length"
    assert len(choice["text"]) == 20
    assert found["usage"] == {"prompt_tokens": 6, "completion_tokens": 20, "total_tokens": 26}


def test_the_first_model_and_16_characters_are_the_default(server):
    answer = server.complete("To be")
    assert answer.json["model"] == "shakespeare" and len(written(answer)[0]) == 16
    assert len(written(server.post("/v1/completions"))[0]) == 16


def test_a_seed_that_was_drawn_is_told(server):
    first = server.complete("To be", max_tokens=50)
    again = server.complete("To be", max_tokens=50, seed=first.json["seed"])
    assert written(first) == written(again)
    assert server.complete("To be", max_tokens=50).json["seed"] != first.json["seed"]


def test_it_writes_what_generate_writes(server, models):
    options = {"temperature": 0.7, "top_p": 0.9, "top_k": 20, "min_p": 0.01, "repetition_penalty": 1.2}
    text = models["shakespeare"].generate("JULIET:\n", 300, seed=5, **options)
    assert written(server.complete("JULIET:\n", max_tokens=300, seed=5, echo=True, **options)) == [text]
    assert joined(server.complete("JULIET:\n", max_tokens=300, seed=5, stream=True, echo=True, **options)) == [text]


def test_penalties_are_those_of_generate(server, models):
    options = {"presence_penalty": 0.5, "frequency_penalty": -0.3}
    text = models["shakespeare"].generate("A", 200, 1.0, seed=5, **options)
    assert written(server.complete("A", max_tokens=200, seed=5, echo=True, **options)) == [text]


@pytest.mark.parametrize("name", ["tiny", "bytes", "lines"])
def test_so_do_other_models(server, models, name):
    text = models[name].generate("ab\n", 60, 1.0, seed=3)
    answer = server.complete("ab\n", model=name, max_tokens=60, seed=3, echo=True)
    assert written(answer) == [text]
    assert joined(server.complete("ab\n", model=name, max_tokens=60, seed=3, echo=True, stream=True)) == [text]


def test_several_prompts_and_choices(server, models):
    model = models["shakespeare"]
    answer = server.complete(["ROMEO:", "O"], n=3, max_tokens=30, seed=11)
    seeds = sample_seeds(11, 3)
    expected = [model.generate(p, 30, 1.0, seed=s)[len(p) :] for p in ("ROMEO:", "O") for s in seeds]
    assert written(answer) == expected
    assert [choice["index"] for choice in answer.json["choices"]] == list(range(6))
    assert joined(server.complete(["ROMEO:", "O"], n=3, max_tokens=30, seed=11, stream=True)) == expected


def test_a_prompt_may_be_ids(server, models):
    vocabulary = models["shakespeare"].vocabulary
    ids = vocabulary.encode("First").tolist()
    expected = written(server.complete("First", seed=1))
    assert written(server.complete(ids, seed=1)) == expected
    assert written(server.complete([ids, ids], seed=1)) == expected * 2
    assert written(server.complete([ids], seed=1, echo=True)) == ["First" + expected[0]]
    assert written(server.complete([[]], seed=1)) == written(server.complete("", seed=1))


def test_a_text_stops_before_a_stop_string(server):
    whole = written(server.complete("ROMEO:", max_tokens=400, seed=2))[0]
    stop = whole[100:104]
    answer = server.complete("ROMEO:", max_tokens=400, seed=2, stop=stop)
    assert written(answer) == [whole[: whole.index(stop)]]
    assert answer.json["choices"][0]["finish_reason"] == "stop"
    events, _ = server.complete("ROMEO:", max_tokens=400, seed=2, stop=["never", stop], stream=True).events
    assert "".join(one["choices"][0]["text"] for one in events) == whole[: whole.index(stop)]
    assert [one["choices"][0]["finish_reason"] for one in events][-1] == "stop"


def test_a_bias_forbids_and_forces(server, models):
    ids = {c: str(models["shakespeare"].vocabulary.characters.index(c)) for c in "eX"}
    assert "e" not in written(server.complete("The", max_tokens=300, logit_bias={ids["e"]: -100}))[0]
    assert set(written(server.complete("The", max_tokens=30, logit_bias={ids["X"]: 100}))[0]) == {"X"}


def test_log_probabilities(server, models):
    model = models["shakespeare"]
    answer = server.complete("ROMEO:", max_tokens=40, seed=4, logprobs=3)
    text, found = written(answer)[0], answer.json["choices"][0]["logprobs"]
    assert "".join(found["tokens"]) == text and found["text_offset"] == list(range(40))
    exact = model.score("ROMEO:" + text, precision="int8").surprisals[5:] * -math.log(2)
    assert found["token_logprobs"] == pytest.approx(exact.tolist(), abs=1e-4)
    for token, cost, likeliest in zip(found["tokens"], found["token_logprobs"], found["top_logprobs"], strict=True):
        assert likeliest[token] == cost and len(likeliest) in (3, 4)
        assert max(likeliest.values()) == next(iter(likeliest.values()))
    assert written(server.complete("ROMEO:", max_tokens=40, seed=4)) == [text]


def test_log_probabilities_of_a_stream_are_the_same(server):
    options = {"max_tokens": 40, "seed": 4, "logprobs": 2, "echo": True}
    whole = server.complete("ROMEO:", **options).json["choices"][0]
    events, _ = server.complete("ROMEO:", stream=True, **options).events
    for key in whole["logprobs"]:
        assert [x for one in events for x in one["choices"][0]["logprobs"][key]] == whole["logprobs"][key]


def test_a_text_is_scored_by_echoing_it(server, models):
    text = "To be, or not to be"
    answer = server.complete(text, max_tokens=0, echo=True, logprobs=1)
    choice = answer.json["choices"][0]
    assert choice["text"] == text and choice["finish_reason"] == "length"
    costs = choice["logprobs"]["token_logprobs"]
    assert costs[0] is None and choice["logprobs"]["top_logprobs"][0] is None
    assert -sum(costs[1:]) == pytest.approx(models["shakespeare"].score(text).total_nats, rel=1e-6)
    assert answer.json["usage"]["completion_tokens"] == 0


def test_what_lm_evaluation_harness_sends(server, models):
    """It slices [context:-1] of the prompt and one character more, and compares floats."""
    vocabulary = models["shakespeare"].vocabulary
    ids = vocabulary.encode("\nTo be, or not to be").tolist()
    body = {"max_tokens": 1, "logprobs": 1, "echo": True, "temperature": 0, "seed": 1234}
    choice = server.complete([ids], model="shakespeare", **body).json["choices"][0]
    found = choice["logprobs"]
    assert len(found["tokens"]) == len(ids) + 1 == len(choice["text"])
    costs = found["token_logprobs"][1:-1]
    assert -sum(costs) == pytest.approx(models["shakespeare"].score("\nTo be, or not to be").total_nats, rel=1e-6)
    guessed = models["shakespeare"].top_guesses("\nTo be, or not to be", 1).characters
    for i in range(1, len(ids)):
        is_greedy = found["token_logprobs"][i] == max(found["top_logprobs"][i].values())
        assert is_greedy == (guessed[i - 1] == found["tokens"][i])
    assert found["token_logprobs"][-1] == max(found["top_logprobs"][-1].values())


def test_bytes_are_scored_too(server, models):
    text = "né à"
    choice = server.complete(text, model="bytes", max_tokens=0, echo=True, logprobs=2).json["choices"][0]
    found = choice["logprobs"]
    assert len(found["tokens"]) == len(text.encode()) and found["text_offset"] == [0, 1, 1, 2, 3, 3]
    nats = models["bytes"].score(text).total_nats
    assert -sum(found["token_logprobs"][1:]) == pytest.approx(nats, rel=1e-6)
    refused = server.complete(text, model="bytes", logprobs=1)
    assert refused.status == 400 and "bytes" in refused.error["message"]


def test_the_best_of_several(server):
    everyone = server.complete("ROMEO:", max_tokens=30, n=6, seed=9, logprobs=0).json["choices"]
    means = [np.mean(choice["logprobs"]["token_logprobs"]) for choice in everyone]
    best = sorted(range(6), key=lambda i: -means[i])[:2]
    answer = server.complete("ROMEO:", max_tokens=30, n=2, best_of=6, seed=9)
    assert written(answer) == [everyone[i]["text"] for i in best]
    assert answer.json["usage"]["completion_tokens"] == 180
    assert answer.json["choices"][0]["logprobs"] is None


def test_a_stream_ends_as_it_should(server):
    options = {"max_tokens": 200, "seed": 3, "stream": True}
    answer = server.complete("ROMEO:", stream_options={"include_usage": True}, **options)
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    events, done = answer.events
    assert done and events[-1]["choices"] == []
    assert events[-1]["usage"] == {"prompt_tokens": 6, "completion_tokens": 200, "total_tokens": 206}
    reasons = [one["choices"][0]["finish_reason"] for one in events[:-1]]
    assert reasons[-1] == "length" and set(reasons[:-1]) <= {None}
    assert {one["usage"] for one in events[:-1] if one["usage"] is None} == {None}
    assert len({(one["id"], one["seed"]) for one in events}) == 1
    assert all("usage" not in one for one in server.complete("ROMEO:", **options).events[0])


def test_what_the_model_does_not_know_is_explained(server):
    answer = server.complete("naïve", model="shakespeare")
    assert answer.status == 400
    assert answer.error["code"] == "unknown_character" and answer.error["param"] == "prompt"
    assert "U+00EF" in answer.error["message"] and "'i'" in answer.error["message"]
    assert server.complete([[1, 2, 99999]]).error["code"] == "unknown_id"
    assert server.complete("x", logit_bias={"9999": 1}).error["param"] == "logit_bias"


@pytest.mark.parametrize(("body", "param"), [
    ({"suffix": "end"}, "suffix"), ({"n": 3, "best_of": 2}, "best_of"), ({"best_of": 3, "stream": True}, "best_of"),
    ({"stream_options": {"include_usage": True}}, "stream_options"), ({"max_tokens": 100_000, "n": 3}, "max_tokens"),
    ({"n": 17}, "n"), ({"tempurature": 1}, "tempurature"), ({"stop": ""}, "stop"), ({"logprobs": 6}, "logprobs"),
    ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
    ({"prompt": ["a"] * 32, "n": 3}, "n"), ({"prompt": ["a"] * 33}, "prompt"), ({"prompt": "a" * 100_001}, "prompt"),
])  # fmt: skip
def test_what_is_not_supported_is_refused(server, body, param):
    answer = server.post("/v1/completions", **{"prompt": "a", **body})
    assert answer.status == 400
    assert answer.error["param"] == param and answer.error["type"] == "invalid_request_error"
    assert answer.error["message"].endswith(".")


def test_a_wrong_name_gets_the_nearest(server):
    assert "Did you mean temperature?" in server.complete("a", tempurature=1).error["message"]
    answer = server.complete("a", model="shakespear")
    assert answer.status == 404 and answer.error["code"] == "model_not_found"
    assert "Did you mean shakespeare?" in answer.error["message"]


def test_null_is_as_if_it_were_not_there(server):
    nothing = dict.fromkeys(("suffix", "stop", "logit_bias", "n", "best_of", "seed", "logprobs", "stream", "user"))
    assert len(written(server.complete("a", **nothing))[0]) == 16
    assert len(written(server.complete("a", user="somebody"))[0]) == 16


def test_chat_is_pointed_to_completions(server):
    for method in ("GET", "POST"):
        answer = server.ask(method, "/v1/chat/completions", {"messages": []} if method == "POST" else None)
        assert answer.status == 404 and "/v1/completions" in answer.error["message"]


def test_models_are_listed(server, models):
    listed = server.get("/v1/models").json
    assert [one["id"] for one in listed["data"]] == list(models)
    first = listed["data"][0]
    assert first["object"] == "model" and first["owned_by"] == "charloom"
    assert first["charloom"]["vocabulary"] == models["shakespeare"].vocabulary.characters
    assert first["charloom"]["characters"] == 65 and first["charloom"]["unit"] == "char"
    assert 2 < first["charloom"]["bits_per_char"] < 2.3 and first["charloom"]["parameters"] > 1e6
    assert server.get("/v1/models/tiny").json["charloom"]["bits_per_char"] is None
    assert server.get("/v1/models/nobody").status == 404


def test_ids_and_back(server):
    info = server.get("/tokenizer_info").json
    assert info["eos_token"] == "\n" and info["bos_token"] is None and info["vocab_size"] == 65
    assert server.get("/tokenizer_info?model=bytes").json["vocab_size"] == 256
    ids = server.post("/tokenize", prompt="First Citizen:", add_special_tokens=False).json
    assert ids["count"] == len(ids["tokens"]) == 14
    assert server.post("/detokenize", tokens=ids["tokens"]).json == {"prompt": "First Citizen:"}
    assert server.post("/tokenize", prompt="").json["tokens"] == []
    assert server.post("/tokenize", prompt="né", model="bytes").json["tokens"] == [110, 195, 169]
    assert server.post("/detokenize", tokens=[65]).status == 400
    assert server.post("/tokenize", prompt="ï").error["param"] == "prompt"


@pytest.mark.parametrize(("name", "text"), [
    ("shakespeare", "To be, or not to be:\n" * 60), ("tiny", "ab\nc"), ("bytes", "né à 漢字"),
    ("lines", "ab\ncd"), ("lines", "\nab\n"),
])  # fmt: skip
def test_a_score_is_that_of_the_command_line(server, models, name, text):
    found = server.post("/score", model=name, text=text).json
    expected = models[name].score(text)
    for key in ("characters", "total_nats", "nats_per_char", "bits_per_char", "perplexity"):
        assert found[key] == pytest.approx(getattr(expected, key), rel=1e-6)
    shown = [None, *expected.surprisals.tolist()]
    assert found["surprisals"] == (pytest.approx(shown[1:][: len(text)]) if name == "lines" else pytest.approx(shown))


def test_a_text_of_one_character_has_no_score(server):
    for text in ("", "a"):
        answer = server.post("/score", text=text)
        assert answer.status == 400 and answer.error["param"] == "text"
    assert server.post("/score", text="Ω and more").error["code"] == "unknown_character"


def test_guesses(server, models):
    found = server.post("/guesses", text="First Citize", k=4).json["guesses"]
    expected = models["shakespeare"].top_guesses("First Citize", 4)
    assert "".join(one["text"] for one in found) == expected.characters[-1]
    assert [one["probability"] for one in found] == pytest.approx(expected.probabilities[-1].tolist())
    assert len(server.post("/guesses", text="").json["guesses"]) == 5
    assert len(server.post("/guesses", text="ab", model="tiny", k=10).json["guesses"]) == 7
    assert server.post("/guesses", text="a", k=11).status == 400


def test_torch_rnn_server(server):
    found = server.get("/generate?start_text=It%20was%20a&n=3").json
    assert found["start_text"] == "It was a" and len(found["completions"]) == 3
    assert all(len(one) == 400 or one[-1] in ".!?" for one in found["completions"])
    assert len(server.get("/generate").json["completions"]) == 1
    for query in ("n=0", "n=17", "n=x", "start_text=%C3%AF", "length=3", "n=1&n=2"):
        assert server.get(f"/generate?{query}").status == 400


def test_numbers_for_prometheus(server):
    before = server.get("/metrics").body.decode()
    assert before.startswith("# HELP charloom_requests_total")
    server.complete("a", max_tokens=100)
    lines = dict(line.rsplit(" ", 1) for line in server.get("/metrics").body.decode().splitlines() if line[0] != "#")
    earlier = dict(line.rsplit(" ", 1) for line in before.splitlines() if line[0] != "#")
    key = 'charloom_characters_total{model="shakespeare"}'
    assert int(lines[key]) >= int(earlier[key]) + 100
    assert int(lines['charloom_answers_total{status="200"}']) >= 2
    assert int(lines["charloom_requests_under_way"]) == 1


def test_it_is_well(server):
    assert server.get("/healthz").json == {"status": "ok"}
    assert server.get("/openapi.json").json["openapi"] == "3.1.0"
    assert server.ask("HEAD", "/healthz").status == 200
    assert server.get("/v1/models/").error["code"] == "unknown_url"
    answer = server.get("/v1/completions")
    assert answer.status == 405 and answer.headers["Allow"] == "POST"


def test_the_fingerprint_is_of_the_model_and_the_precision(models):
    from charloom.serve.models import _fingerprint

    found = {_fingerprint(model, precision) for model in models.values() for precision in ("auto", "float32")}
    assert len(found) == 2 * len(models)
    assert _fingerprint(models["tiny"], "auto") == _fingerprint(Model(tiny_saved("lstm")), "auto")
    assert tiny_architecture("lstm") == models["tiny"].architecture
