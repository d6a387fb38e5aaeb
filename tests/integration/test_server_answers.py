"""The server's responses: completions in the format of OpenAI, token ids, scores, top-k predictions."""

import math

import numpy as np
import pytest

import charloom
from charloom.data.text_format import LABEL_MARK, RECORD_MARK, TextRules
from charloom.data.vocabulary.characters import Vocabulary
from charloom.inference.model import Model
from charloom.inference.sampling import sample_seeds
from charloom.model.architecture import Architecture
from charloom.model.file.model_file import SavedModel
from support.models import bytes_model, initial_weights, tiny_architecture, tiny_saved
from support.server import serve_models


def lines_model():
    saved = tiny_saved()
    return Model(SavedModel(saved.architecture, saved.vocabulary, saved.weights, rules=TextRules(lines=True)))


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
    with serve_models(models) as running:
        yield running


def texts_of(response):
    assert response.status == 200, response.body
    return [choice["text"] for choice in response.json["choices"]]


def streamed_texts(response):
    """Return the texts of a stream in the order of their index."""
    events, done = response.events
    assert done
    texts = {}
    for event in events:
        for choice in event["choices"]:
            texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
    return [texts[index] for index in sorted(texts)]


def test_completion_response_format(server):
    response = server.complete("ROMEO:", model="shakespeare", max_tokens=20, seed=7)
    result = response.json
    assert response.headers["Content-Type"] == "application/json"
    assert result["object"] == "text_completion" and result["id"].startswith("cmpl-")
    assert result["model"] == "shakespeare" and result["system_fingerprint"].startswith("fp_")
    assert result["seed"] == 7
    (choice,) = result["choices"]
    assert choice["index"] == 0 and choice["logprobs"] is None and choice["finish_reason"] == "length"
    assert len(choice["text"]) == 20
    assert result["usage"] == {"prompt_tokens": 6, "completion_tokens": 20, "total_tokens": 26}


def test_default_model_and_max_tokens(server):
    response = server.complete("To be")
    assert response.json["model"] == "shakespeare" and len(texts_of(response)[0]) == 16
    assert len(texts_of(server.post("/v1/completions"))[0]) == 16


def test_random_seed_is_returned(server):
    first = server.complete("To be", max_tokens=50)
    again = server.complete("To be", max_tokens=50, seed=first.json["seed"])
    assert texts_of(first) == texts_of(again)
    assert server.complete("To be", max_tokens=50).json["seed"] != first.json["seed"]


def test_completion_equals_generate(server, models):
    options = {"temperature": 0.7, "top_p": 0.9, "top_k": 20, "min_p": 0.01, "repetition_penalty": 1.2}
    text = models["shakespeare"].generate("JULIET:\n", 300, seed=5, **options)
    assert texts_of(server.complete("JULIET:\n", max_tokens=300, seed=5, echo=True, **options)) == [text]
    assert streamed_texts(server.complete("JULIET:\n", max_tokens=300, seed=5, stream=True, echo=True, **options)) == [
        text
    ]


def test_penalties_equal_those_of_generate(server, models):
    options = {"presence_penalty": 0.5, "frequency_penalty": -0.3}
    text = models["shakespeare"].generate("A", 200, 1.0, seed=5, **options)
    assert texts_of(server.complete("A", max_tokens=200, seed=5, echo=True, **options)) == [text]


@pytest.mark.parametrize("name", ["tiny", "bytes", "lines"])
def test_completion_equals_generate_for_other_kinds_of_models(server, models, name):
    text = models[name].generate("ab\n", 60, 1.0, seed=3)
    response = server.complete("ab\n", model=name, max_tokens=60, seed=3, echo=True)
    assert texts_of(response) == [text]
    assert streamed_texts(server.complete("ab\n", model=name, max_tokens=60, seed=3, echo=True, stream=True)) == [text]


def test_several_prompts_and_choices(server, models):
    model = models["shakespeare"]
    response = server.complete(["ROMEO:", "O"], n=3, max_tokens=30, seed=11)
    seeds = sample_seeds(11, 3)
    expected = [model.generate(p, 30, 1.0, seed=s)[len(p) :] for p in ("ROMEO:", "O") for s in seeds]
    assert texts_of(response) == expected
    assert [choice["index"] for choice in response.json["choices"]] == list(range(6))
    assert streamed_texts(server.complete(["ROMEO:", "O"], n=3, max_tokens=30, seed=11, stream=True)) == expected


def test_prompts_of_token_ids(server, models):
    vocabulary = models["shakespeare"].vocabulary
    ids = vocabulary.encode("First").tolist()
    expected = texts_of(server.complete("First", seed=1))
    assert texts_of(server.complete(ids, seed=1)) == expected
    assert texts_of(server.complete([ids, ids], seed=1)) == expected * 2
    assert texts_of(server.complete([ids], seed=1, echo=True)) == ["First" + expected[0]]
    assert texts_of(server.complete([[]], seed=1)) == texts_of(server.complete("", seed=1))


def test_stop_sequences(server):
    whole = texts_of(server.complete("ROMEO:", max_tokens=400, seed=2))[0]
    stop = whole[100:104]
    response = server.complete("ROMEO:", max_tokens=400, seed=2, stop=stop)
    assert texts_of(response) == [whole[: whole.index(stop)]]
    assert response.json["choices"][0]["finish_reason"] == "stop"
    events, _ = server.complete("ROMEO:", max_tokens=400, seed=2, stop=["never", stop], stream=True).events
    assert "".join(event["choices"][0]["text"] for event in events) == whole[: whole.index(stop)]
    assert [event["choices"][0]["finish_reason"] for event in events][-1] == "stop"


def test_logit_bias_excludes_and_forces_characters(server, models):
    ids = {c: str(models["shakespeare"].vocabulary.characters.index(c)) for c in "eX"}
    assert "e" not in texts_of(server.complete("The", max_tokens=300, logit_bias={ids["e"]: -100}))[0]
    assert set(texts_of(server.complete("The", max_tokens=30, logit_bias={ids["X"]: 100}))[0]) == {"X"}


def test_logprobs(server, models):
    model = models["shakespeare"]
    response = server.complete("ROMEO:", max_tokens=40, seed=4, logprobs=3)
    text, logprobs = texts_of(response)[0], response.json["choices"][0]["logprobs"]
    assert "".join(logprobs["tokens"]) == text and logprobs["text_offset"] == list(range(40))
    exact = model.score("ROMEO:" + text, precision="int8").surprisals[5:] * -math.log(2)
    assert logprobs["token_logprobs"] == pytest.approx(exact.tolist(), abs=1e-4)
    for token, log_prob, top in zip(
        logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True
    ):
        assert top[token] == log_prob and len(top) in (3, 4)
        assert max(top.values()) == next(iter(top.values()))
    assert texts_of(server.complete("ROMEO:", max_tokens=40, seed=4)) == [text]


def test_logprobs_of_a_stream(server):
    options = {"max_tokens": 40, "seed": 4, "logprobs": 2, "echo": True}
    whole = server.complete("ROMEO:", **options).json["choices"][0]
    events, _ = server.complete("ROMEO:", stream=True, **options).events
    for key in whole["logprobs"]:
        assert [x for event in events for x in event["choices"][0]["logprobs"][key]] == whole["logprobs"][key]


def test_echo_scores_the_prompt(server, models):
    text = "To be, or not to be"
    response = server.complete(text, max_tokens=0, echo=True, logprobs=1)
    choice = response.json["choices"][0]
    assert choice["text"] == text and choice["finish_reason"] == "length"
    log_probs = choice["logprobs"]["token_logprobs"]
    assert log_probs[0] is None and choice["logprobs"]["top_logprobs"][0] is None
    assert -sum(log_probs[1:]) == pytest.approx(models["shakespeare"].score(text).total_nats, rel=1e-6)
    assert response.json["usage"]["completion_tokens"] == 0


def test_requests_of_lm_evaluation_harness(server, models):
    """The harness slices the log probabilities with [context:-1], and compares floats to detect greedy tokens."""
    vocabulary = models["shakespeare"].vocabulary
    ids = vocabulary.encode("\nTo be, or not to be").tolist()
    body = {"max_tokens": 1, "logprobs": 1, "echo": True, "temperature": 0, "seed": 1234}
    choice = server.complete([ids], model="shakespeare", **body).json["choices"][0]
    logprobs = choice["logprobs"]
    assert len(logprobs["tokens"]) == len(ids) + 1 == len(choice["text"])
    log_probs = logprobs["token_logprobs"][1:-1]
    assert -sum(log_probs) == pytest.approx(models["shakespeare"].score("\nTo be, or not to be").total_nats, rel=1e-6)
    predicted = models["shakespeare"].top_guesses("\nTo be, or not to be", 1).characters
    for i in range(1, len(ids)):
        is_greedy = logprobs["token_logprobs"][i] == max(logprobs["top_logprobs"][i].values())
        assert is_greedy == (predicted[i - 1] == logprobs["tokens"][i])
    assert logprobs["token_logprobs"][-1] == max(logprobs["top_logprobs"][-1].values())


def test_logprobs_of_a_byte_model(server, models):
    text = "né à"
    choice = server.complete(text, model="bytes", max_tokens=0, echo=True, logprobs=2).json["choices"][0]
    logprobs = choice["logprobs"]
    assert len(logprobs["tokens"]) == len(text.encode()) and logprobs["text_offset"] == [0, 1, 1, 2, 3, 3]
    nats = models["bytes"].score(text).total_nats
    assert -sum(logprobs["token_logprobs"][1:]) == pytest.approx(nats, rel=1e-6)
    rejected = server.complete(text, model="bytes", logprobs=1)
    assert rejected.status == 400 and rejected.error["code"] == "invalid_value"


def test_best_of(server):
    choices = server.complete("ROMEO:", max_tokens=30, n=6, seed=9, logprobs=0).json["choices"]
    means = [np.mean(choice["logprobs"]["token_logprobs"]) for choice in choices]
    best = sorted(range(6), key=lambda i: -means[i])[:2]
    response = server.complete("ROMEO:", max_tokens=30, n=2, best_of=6, seed=9)
    assert texts_of(response) == [choices[i]["text"] for i in best]
    assert response.json["usage"]["completion_tokens"] == 180
    assert response.json["choices"][0]["logprobs"] is None


def test_stream_events_and_usage(server):
    options = {"max_tokens": 200, "seed": 3, "stream": True}
    response = server.complete("ROMEO:", stream_options={"include_usage": True}, **options)
    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    events, done = response.events
    assert done and events[-1]["choices"] == []
    assert events[-1]["usage"] == {"prompt_tokens": 6, "completion_tokens": 200, "total_tokens": 206}
    reasons = [event["choices"][0]["finish_reason"] for event in events[:-1]]
    assert reasons[-1] == "length" and set(reasons[:-1]) <= {None}
    assert {event["usage"] for event in events[:-1]} == {None}
    assert len({(event["id"], event["seed"]) for event in events}) == 1
    assert all("usage" not in event for event in server.complete("ROMEO:", **options).events[0])


def test_unknown_characters_and_ids(server):
    response = server.complete("naïve", model="shakespeare")
    assert response.status == 400
    assert response.error["code"] == "unknown_character" and response.error["param"] == "prompt"
    assert "U+00EF" in response.error["message"] and "'i'" in response.error["message"]
    assert server.complete([[1, 2, 99999]]).error["code"] == "unknown_id"
    assert server.complete("x", logit_bias={"9999": 1}).error["param"] == "logit_bias"


@pytest.mark.parametrize(("path", "field"), [("/score", "text"), ("/guesses", "text"), ("/tokenize", "prompt")])
def test_unknown_characters_of_an_endpoint_without_the_option_to_skip_them(server, path, field):
    error = server.post(path, **{field: "naïve"}).error
    assert error["code"] == "unknown_character" and error["param"] == field
    assert error["message"].startswith(f"The {field} ") and "skip" not in error["message"]


def test_the_wrong_one_of_several_prompts_is_named(server):
    error = server.complete(["naive", "naïve"]).error
    assert error["code"] == "unknown_character" and error["param"] == "prompt[1]" and "skip" in error["message"]
    assert server.complete([[1], [2, 99999]]).error["param"] == "prompt[1]"


def test_unknown_characters_are_skipped_or_replaced_on_request(server, models):
    fields = {"model": "shakespeare", "seed": 1, "temperature": 0, "max_tokens": 12}
    skipped = server.complete("naïve", unknown="skip", echo=True, logprobs=1, **fields).json
    assert skipped["choices"][0]["text"].startswith("nave") and skipped["usage"]["prompt_tokens"] == 4
    assert skipped["choices"][0]["text"] == server.complete("nave", echo=True, **fields).json["choices"][0]["text"]
    replaced = server.complete("naïve", unknown="replace", **fields).json
    assert replaced["choices"][0]["text"] == server.complete("na ve", **fields).json["choices"][0]["text"]
    assert server.complete("naïve", unknown="error", **fields).error["code"] == "unknown_character"
    assert server.complete("naive", unknown="drop", **fields).error["param"] == "unknown"


@pytest.mark.parametrize(("body", "param"), [
    ({"suffix": "end"}, "suffix"), ({"n": 3, "best_of": 2}, "best_of"), ({"best_of": 3, "stream": True}, "best_of"),
    ({"stream_options": {"include_usage": True}}, "stream_options"), ({"max_tokens": 100_000, "n": 3}, "max_tokens"),
    ({"n": 17}, "n"), ({"tempurature": 1}, "tempurature"), ({"logprobs": 6}, "logprobs"),
    ({"stop": [""]}, "stop"), ({"stop": ["a"] * 17}, "stop"), ({"logprobs": True}, "logprobs"),
    ({"stream": True, "stream_options": {"include_noise": True}}, "stream_options.include_noise"),
    ({"top_k": -2}, "top_k"), ({"seed": -2}, "seed"), ({"max_tokens": 16.5}, "max_tokens"),
    ({"suffix": " "}, "suffix"), ({"top_k": False}, "top_k"),
    ({"prompt": ["a"] * 32, "n": 3}, "n"), ({"prompt": ["a"] * 33}, "prompt"), ({"prompt": "a" * 100_001}, "prompt"),
])  # fmt: skip
def test_invalid_parameters(server, body, param):
    response = server.post("/v1/completions", **{"prompt": "a", **body})
    assert response.status == 400
    assert response.error["param"] == param and response.error["type"] == "invalid_request_error"
    assert response.error["message"].endswith(".")


def test_prompts_of_other_types_have_the_same_error(server):
    messages = [server.complete(value).error["message"].partition(", got")[0] for value in (5, ["a", 5], [], [[1], 2])]
    assert len(set(messages)) == 1 and "non-empty string" not in messages[0]


def test_values_are_shown_as_json(server):
    assert "got true." in server.complete("a", logprobs=True).error["message"]
    assert 'got [null, "é\\u202e"].' in server.complete("a", stop=[None, "é\u202e"]).error["message"]
    assert "got" not in server.complete("a", suffix="x").error["message"]


@pytest.mark.parametrize("name, meant", [
    ("length", "max_tokens"), ("max_new_tokens", "max_tokens"), ("max_completion_tokens", "max_tokens"),
    ("text", "prompt"), ("input", "prompt"), ("min_tokens", None), ("messages", None),
])  # fmt: skip
def test_names_of_other_apis_get_a_suggestion(server, name, meant):
    error = server.post("/v1/completions", **{name: 1}).error
    assert error["code"] == "unknown_parameter" and error["param"] == name
    assert (f"Did you mean {meant}?" in error["message"]) if meant else ("Did you mean" not in error["message"])
    assert ("Chat is not supported" in error["message"]) == (name == "messages")
    assert "Did you mean text?" in server.post("/score", prompt="a").error["message"]


def test_misspelled_names_get_a_suggestion(server):
    assert "Did you mean temperature?" in server.complete("a", tempurature=1).error["message"]
    response = server.complete("a", model="shakespear")
    assert response.status == 404 and response.error["code"] == "model_not_found"
    assert "Did you mean shakespeare?" in response.error["message"]


def test_null_fields_count_as_missing(server):
    nothing = dict.fromkeys(("suffix", "stop", "logit_bias", "n", "best_of", "seed", "logprobs", "stream", "user"))
    assert len(texts_of(server.complete("a", **nothing))[0]) == 16
    assert len(texts_of(server.complete("a", user="somebody"))[0]) == 16


@pytest.mark.parametrize(
    "body",
    [
        {"top_k": 0}, {"top_k": -1}, {"suffix": ""}, {"stop": ""}, {"stop": []}, {"seed": -1}, {"max_tokens": 16.0},
        {"logprobs": False}, {"response_format": None}, {"anything": None}, {"stop": list("bcdefghijklmnopq")},
        {"n": 1.0}, {"top_k": -1.0}, {"temperature": 1},
    ],
)  # fmt: skip
def test_values_that_mean_default_or_off_are_accepted(server, body):
    response = server.complete("a", **body)
    assert response.status == 200, response.body
    assert len(texts_of(response)[0]) <= 16


def test_neutral_values_give_the_same_text_as_no_values(server):
    plain = texts_of(server.complete("ROMEO:", model="shakespeare", seed=4))
    neutral = {"top_k": 0, "suffix": "", "stop": "", "logprobs": False, "max_tokens": 16.0, "seed": 4.0}
    assert texts_of(server.complete("ROMEO:", model="shakespeare", **neutral)) == plain


@pytest.mark.parametrize("path", ["/completions", "/v1/completions/", "/v1", "/v1/", "/completions/"])
def test_similar_urls_get_a_hint(server, path):
    response = server.post(path, prompt="a")
    assert response.status == 404 and response.error["code"] == "unknown_url"
    assert "/v1/completions?" in response.error["message"]


@pytest.mark.parametrize("path, nearest", [
    ("/v1/completion", "/v1/completions"), ("/models", "/v1/models"), ("/v1/modelz", "/v1/models"),
    ("/v1/score", "/score"), ("/health", "/healthz"), ("/tokenise", "/tokenize"), ("/Generate/", "/generate"),
    ("/v1/embeddings", None), ("/v1/responses", None), ("/favicon.ico", None), ("/a%0Ab", None), ("//", None),
    ("/x" * 900, None), ("/playground/playground.cs", None),
])  # fmt: skip
def test_an_unknown_path_names_the_nearest_endpoint_but_none_far_fetched(server, path, nearest):
    message = server.get(path).error["message"]
    assert (f"Did you mean {nearest}?" in message) if nearest else ("Did you mean" not in message)


@pytest.mark.parametrize("method, path, accepted", [
    ("GET", "/v1/completions", "POST"), ("POST", "/v1/models", "GET, HEAD"), ("DELETE", "/score", "POST"),
])  # fmt: skip
def test_a_wrong_method_names_the_accepted_ones(server, method, path, accepted):
    response = server.request(method, path, {} if method == "POST" else None)
    assert response.status == 405 and response.headers["Allow"] == accepted
    assert accepted in response.error["message"]


def test_chat_completions_are_not_supported(server):
    for method in ("GET", "POST"):
        response = server.request(method, "/v1/chat/completions", {"messages": []} if method == "POST" else None)
        assert response.status == 404 and "/v1/completions" in response.error["message"]


def test_list_models(server, models):
    listed = server.get("/v1/models").json
    assert [one["id"] for one in listed["data"]] == list(models)
    first = listed["data"][0]
    assert first["object"] == "model" and first["owned_by"] == "charloom"
    assert first["charloom"]["vocabulary"] == models["shakespeare"].vocabulary.characters
    assert first["charloom"]["characters"] == 65 and first["charloom"]["unit"] == "char"
    assert 2 < first["charloom"]["bits_per_char"] < 2.3 and first["charloom"]["parameters"] > 1e6
    assert server.get("/v1/models/tiny").json["charloom"]["bits_per_char"] is None
    assert server.get("/v1/models/nobody").status == 404


def test_tokenize_and_detokenize(server):
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
def test_score_equals_model_score(server, models, name, text):
    result = server.post("/score", model=name, text=text).json
    expected = models[name].score(text)
    for key in ("characters", "total_nats", "nats_per_char", "bits_per_char", "perplexity"):
        assert result[key] == pytest.approx(getattr(expected, key), rel=1e-6)
    shown = [None, *expected.surprisals.tolist()]
    assert result["surprisals"] == (pytest.approx(shown[1:][: len(text)]) if name == "lines" else pytest.approx(shown))


def test_score_rejects_short_and_unknown_texts(server):
    for text in ("", "a"):
        response = server.post("/score", text=text)
        assert response.status == 400 and response.error["param"] == "text"
    assert server.post("/score", text="Ω and more").error["code"] == "unknown_character"


def test_top_k_predictions(server, models):
    result = server.post("/guesses", text="First Citize", k=4).json["guesses"]
    expected = models["shakespeare"].top_guesses("First Citize", 4)
    assert "".join(one["text"] for one in result) == expected.characters[-1]
    assert [one["probability"] for one in result] == pytest.approx(expected.probabilities[-1].tolist())
    assert len(server.post("/guesses", text="").json["guesses"]) == 5
    assert len(server.post("/guesses", text="ab", model="tiny", k=10).json["guesses"]) == 7
    assert server.post("/guesses", text="a", k=11).status == 400


def test_torch_rnn_server_endpoint(server):
    result = server.get("/generate?start_text=It%20was%20a&n=3").json
    assert result["start_text"] == "It was a" and len(result["completions"]) == 3
    assert all(len(one) == 400 or one[-1] in ".!?" for one in result["completions"])
    assert len(server.get("/generate").json["completions"]) == 1
    for query in ("n=0", "n=17", "n=x", "start_text=%C3%AF", "length=3", "n=1&n=2"):
        assert server.get(f"/generate?{query}").status == 400


def test_prometheus_metrics(server):
    before = server.get("/metrics").body.decode()
    assert before.startswith("# HELP charloom_requests_total")
    server.complete("a", max_tokens=100)
    lines = dict(line.rsplit(" ", 1) for line in server.get("/metrics").body.decode().splitlines() if line[0] != "#")
    earlier = dict(line.rsplit(" ", 1) for line in before.splitlines() if line[0] != "#")
    key = 'charloom_characters_total{model="shakespeare"}'
    assert int(lines[key]) >= int(earlier[key]) + 100
    assert int(lines['charloom_answers_total{status="200"}']) >= 2
    assert int(lines["charloom_requests_under_way"]) == 1


def test_health_openapi_and_routing(server):
    assert server.get("/healthz").json == {"status": "ok"}
    assert server.get("/openapi.json").json["openapi"] == "3.1.0"
    assert server.request("HEAD", "/healthz").status == 200
    assert server.get("/v1/models/").error["code"] == "unknown_url"
    response = server.get("/v1/completions")
    assert response.status == 405 and response.headers["Allow"] == "POST"


def test_fingerprint_depends_on_model_and_precision(models):
    from charloom.serve.models import _fingerprint

    result = {_fingerprint(model, precision) for model in models.values() for precision in ("auto", "float32")}
    assert len(result) == 2 * len(models)
    assert _fingerprint(models["tiny"], "auto") == _fingerprint(Model(tiny_saved("lstm")), "auto")
    assert tiny_architecture("lstm") == models["tiny"].architecture


# --- models of records


RECORD_LABELS = {"sea": 3, "land": 1}


def record_model(labels=None):
    vocabulary = Vocabulary("".join(sorted(f"\n abcdelnsxyz{RECORD_MARK}{LABEL_MARK if labels else ''}")))
    architecture = Architecture(len(vocabulary), "gru", 6, 20, 1, True)
    weights = initial_weights(architecture, 3)
    weights["output.weight"] *= 6
    return Model(SavedModel(architecture, vocabulary, weights, rules=TextRules(records="%", labels=labels or {})))


@pytest.fixture(scope="module")
def records():
    models = {"records": record_model(), "labeled": record_model(RECORD_LABELS)}
    with serve_models(models) as running:
        yield running, models


@pytest.mark.parametrize("prompt", ["", "ab", "a\nb", "a\r\nb", f"{RECORD_MARK}ab"])
def test_a_completion_is_one_record(prompt, records):
    server, models = records
    for seed in range(8):
        body = server.complete(prompt, model="records", seed=seed, max_tokens=200, temperature=0.8).json
        (choice,) = body["choices"]
        typed = prompt.removeprefix(RECORD_MARK).replace("\r\n", "\n")
        expected = models["records"].generate(typed, 200, seed=seed)
        assert choice["text"] == expected.removeprefix(typed)
        assert choice["finish_reason"] == ("stop" if len(choice["text"]) < 200 else "length")
        assert body["usage"]["prompt_tokens"] == len(typed)


@pytest.mark.parametrize("label", [None, "sea", "land"])
def test_completions_of_labeled_models_have_the_requested_or_a_drawn_label(label, records):
    server, models = records
    for seed in range(6):
        body = {"model": "labeled", "seed": seed, "max_tokens": 60, "temperature": 0.8, "label": label}
        text = models["labeled"].generate("ab", 60, seed=seed, label=label)
        assert texts_of(server.complete("ab", **body)) == [text.removeprefix("ab")]
        echoed = server.complete("ab", **body, echo=True, logprobs=2).json["choices"][0]
        assert echoed["text"] == text and RECORD_MARK not in str(echoed) and LABEL_MARK not in str(echoed)
        assert len(echoed["logprobs"]["tokens"]) == len(text)


@pytest.mark.parametrize("path", ["/v1/completions", "/score", "/guesses"])
def test_unknown_labels_and_labels_of_other_models_are_rejected(path, records):
    server, _ = records
    body = {"prompt": "ab"} if path == "/v1/completions" else {"text": "ab"}
    response = server.post(path, model="labeled", label="see", **body)
    assert (response.status, response.error["param"]) == (400, "label") and "'sea'" in response.error["message"]
    assert server.post(path, model="records", label="sea", **body).status == 400


@pytest.mark.parametrize("mark", [RECORD_MARK, LABEL_MARK])
def test_marks_inside_texts_are_rejected(mark, records):
    server, _ = records
    fields = {"/v1/completions": "prompt", "/score": "text", "/guesses": "text", "/tokenize": "prompt"}
    for path, field in fields.items():
        response = server.post(path, model="labeled", **{field: f"a{mark}b"})
        assert (response.status, response.error["code"]) == (400, "unknown_character"), path


def test_scores_of_records_equal_those_of_the_model(records):
    server, models = records
    whole = server.post("/score", model="records", text="ab\ncd").json
    score = models["records"].score("ab\ncd")
    assert whole["total_nats"] == pytest.approx(score.total_nats, rel=1e-3)
    np.testing.assert_allclose(whole["surprisals"], score.surprisals[:5], rtol=1e-2, atol=1e-3)
    labeled = server.post("/score", model="labeled", text="ab", label="land").json
    score = models["labeled"].score(f"land{LABEL_MARK}ab")
    np.testing.assert_allclose(labeled["surprisals"], score.surprisals[5:7], rtol=1e-2, atol=1e-3)


def test_predictions_show_the_end_of_a_record_as_a_symbol(records):
    server, _ = records
    guesses = server.post("/guesses", model="records", text="ab", k=10).json["guesses"]
    start = server.post("/guesses", model="records", text="", k=10).json["guesses"]
    assert (
        RECORD_MARK not in {row["text"] for row in guesses + start}
        and sum(row["probability"] for row in guesses) <= 1.0001
    )


def test_entries_of_record_models_state_their_records(records):
    server, _ = records
    entries = {row["id"]: row["charloom"] for row in server.get("/v1/models").json["data"]}
    assert (entries["records"]["records"], entries["records"]["labels"]) == ("%", [])
    assert entries["labeled"]["labels"] == ["sea", "land"]
