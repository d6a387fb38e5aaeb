"""Programs that people have, against `charloom serve`: openai, llm, LangChain and lm-evaluation-harness themselves."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import llm
import openai
import pytest

import charloom
from support.clients import python_with
from support.models import after
from support.server import served

pytestmark = pytest.mark.alone  # of two ports that are free at the same time one may be taken
PROMPT = "The loom is"


@pytest.fixture(scope="module")
def address(run):
    with served(run, "shakespeare") as address:
        yield address


@pytest.fixture(scope="module")
def client(address):
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def model(run):
    return charloom.load(run)


class TestOpenAI:
    def test_it_lists_the_models(self, client):
        assert [model.id for model in client.models.list()] == ["run", "shakespeare"]
        assert client.models.retrieve("shakespeare").object == "model"

    def test_a_completion_is_what_charloom_generates(self, client, model):
        asked = {"temperature": 0.9, "top_p": 0.95, "seed": 7}
        done = client.completions.create(model="run", prompt=PROMPT, max_tokens=200, **asked)
        assert done.object == "text_completion" and done.id.startswith("cmpl-") and done.model == "run"
        (choice,) = done.choices
        assert choice.text == after(PROMPT, model.generate(PROMPT, 200, **asked))
        assert choice.finish_reason == "length" and choice.logprobs is None
        usage, read = done.usage, len(PROMPT)
        assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (read, 200, read + 200)

    def test_a_stream_is_the_same_text_and_tells_what_it_cost(self, client, model):
        asked = {"model": "run", "prompt": PROMPT, "max_tokens": 2000, "temperature": 0.8, "seed": 3}
        with client.completions.create(**asked, stream=True, stream_options={"include_usage": True}) as stream:
            *chunks, last = stream
        assert "".join(chunk.choices[0].text for chunk in chunks) == after(PROMPT, model.generate(PROMPT, 2000, seed=3))
        *reasons, last_reason = (chunk.choices[0].finish_reason for chunk in chunks)
        assert set(reasons) <= {None} and last_reason == "length"
        assert {chunk.id for chunk in chunks} == {last.id}
        assert last.choices == [] and last.usage.completion_tokens == 2000

    def test_many_prompts_and_samples_come_in_their_order(self, client, model):
        prompts = ["The ", "Who "]
        asked = {"max_tokens": 30, "temperature": 0.8, "seed": 5}
        done = client.completions.create(model="run", prompt=prompts, n=3, **asked)
        assert [choice.index for choice in done.choices] == list(range(6))
        assert len({choice.text for choice in done.choices}) == 6
        for first, prompt in ((0, prompts[0]), (3, prompts[1])):
            assert done.choices[first].text == after(prompt, model.generate(prompt, 30, seed=5))
        ids = [model.vocabulary.encode(prompt).tolist() for prompt in prompts]
        from_ids = client.completions.create(model="run", prompt=ids, n=3, **asked)
        assert [choice.text for choice in from_ids.choices] == [choice.text for choice in done.choices]

    def test_log_probabilities_are_the_models(self, client, model):
        done = client.completions.create(model="run", prompt=PROMPT, max_tokens=40, seed=1, logprobs=3)
        (choice,) = done.choices
        found = choice.logprobs
        assert "".join(found.tokens) == choice.text and len(found.tokens) == 40
        assert found.text_offset == list(range(40))
        for token, log_prob, top in zip(found.tokens, found.token_logprobs, found.top_logprobs, strict=True):
            assert len(top) in (3, 4) and max(top.values()) <= 0
            assert top.get(token, log_prob) == log_prob
        bits = model.score(PROMPT + choice.text, precision="int8").surprisals[-40:]
        assert found.token_logprobs == pytest.approx((-bits * math.log(2)).tolist(), abs=1e-3)

    def test_an_echo_of_no_new_characters_scores_the_prompt(self, client, model):
        text = "The letters dance till the cloth is done.\n"
        asked = {"max_tokens": 0, "echo": True, "logprobs": 1}
        (choice,) = client.completions.create(model="run", prompt=text, **asked).choices
        assert choice.text == text and choice.logprobs.token_logprobs[0] is None
        nats = -sum(choice.logprobs.token_logprobs[1:])
        assert nats == pytest.approx(model.score(text).total_nats, rel=1e-5)

    def test_a_text_ends_before_what_stops_it(self, client, model):
        wanted = after(PROMPT, model.generate(PROMPT, 500, seed=2, stop=["loom", "\n"]))
        asked = {"max_tokens": 500, "temperature": 0.8, "seed": 2, "stop": ["loom", "\n"]}
        (choice,) = client.completions.create(model="run", prompt=PROMPT, **asked).choices
        assert (choice.text, choice.finish_reason) == (wanted, "stop")

    def test_charlooms_own_options_can_be_asked_for(self, client, model):
        own = {"top_k": 5, "min_p": 0.05, "repetition_penalty": 1.3}
        asked = {"max_tokens": 100, "temperature": 0.8, "seed": 4}
        (choice,) = client.completions.create(model="run", prompt=PROMPT, **asked, extra_body=own).choices
        assert choice.text == after(PROMPT, model.generate(PROMPT, 100, seed=4, **own))

    def test_an_unknown_character_is_named(self, client):
        with pytest.raises(openai.BadRequestError, match="SNOWMAN") as refused:
            client.completions.create(model="run", prompt="\N{SNOWMAN}")
        assert (refused.value.code, refused.value.param) == ("unknown_character", "prompt")

    @pytest.mark.parametrize("asked", [
        {"suffix": "the end"}, {"temperature": 1000}, {"max_tokens": -1}, {"n": 2, "best_of": 1}, {"logprobs": 6},
        {"stop": ["a", "b", "c", "d", "e"]}, {"extra_body": {"grammar": "root ::= 'x'"}},
    ], ids=lambda asked: next(iter(asked)))  # fmt: skip
    def test_what_is_not_supported_is_refused(self, client, asked):
        with pytest.raises(openai.BadRequestError) as refused:
            client.completions.create(model="run", prompt=PROMPT, **asked)
        assert refused.value.type == "invalid_request_error" and refused.value.message

    def test_what_is_not_there_is_said_to_be_elsewhere(self, client):
        with pytest.raises(openai.NotFoundError, match="shakespeare"):
            client.completions.create(model="gpt", prompt=PROMPT)
        with pytest.raises(openai.NotFoundError, match="/v1/completions"):
            client.chat.completions.create(model="run", messages=[{"role": "user", "content": "Hello"}])

    def test_a_token_is_what_lets_in(self, run):
        with served(run, "--token", "s3cret-of-the-loom") as address:
            for key, lets_in in (("none", False), ("s3cret-of-the-loom", True)):
                with openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0) as client:
                    if lets_in:
                        assert client.completions.create(model="run", prompt="The", max_tokens=5).choices[0].text
                        continue
                    with pytest.raises(openai.AuthenticationError):
                        client.completions.create(model="run", prompt="The", max_tokens=5)


class TestLlm:
    @pytest.fixture
    def home(self, address, tmp_path, monkeypatch):
        """llm with the models of the server."""
        monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
        rows = (f"- model_id: local-{name}\n  model_name: {name}\n  api_base: {address}/v1\n  completion: true\n"
                for name in ("run", "shakespeare"))  # fmt: skip
        (tmp_path / "extra-openai-models.yaml").write_text("".join(rows))

    def test_its_command_writes_with_a_served_model(self, home, model):
        options = {"max_tokens": 80, "temperature": 0.8, "seed": 9}
        words = [word for name, value in options.items() for word in ("-o", name, str(value))]
        for stream in ([], ["--no-stream"]):
            command = [sys.executable, "-m", "llm", "-m", "local-run", PROMPT, *words, *stream]
            done = subprocess.run(command, capture_output=True, text=True, timeout=250)
            assert done.returncode == 0, done.stderr
            assert done.stdout == after(PROMPT, model.generate(PROMPT, 80, seed=9)) + "\n"

    def test_its_python_streams(self, home):
        answer = llm.get_model("local-shakespeare").prompt("ROMEO:", max_tokens=40_000, temperature=0.8, seed=1)
        pieces = list(answer)
        assert len(pieces) > 1  # not more than 16,384 characters wait to be sent, however slow the machine
        assert "".join(pieces) == after("ROMEO:", charloom.load("shakespeare").generate("ROMEO:", 40_000, seed=1))


LANGCHAIN = """
import sys
from langchain_openai import OpenAI
model = OpenAI(base_url=sys.argv[1], api_key="none", model="run", temperature=0.8, max_tokens=60, seed=2)
print(repr(model.invoke("The loom is")))
print(repr("".join(model.stream("The loom is"))))
"""


@pytest.mark.slow
def test_langchain_writes_and_streams(address, model):
    command = [python_with("langchain_openai"), "-c", LANGCHAIN, f"{address}/v1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [repr(after(PROMPT, model.generate(PROMPT, 60, seed=2)))] * 2


@pytest.mark.slow
@pytest.mark.timeout(900)  # it takes half a minute to be imported, and more on a machine that does something else
def test_the_evaluation_harness_finds_the_perplexity_that_charloom_finds(address, run, text, tmp_path):
    python = python_with("lm_eval")
    pages = [text[:1500], text[3000:5000]]
    (tmp_path / "text.jsonl").write_text("".join(json.dumps({"text": page}) + "\n" for page in pages))
    task = {
        "task": "my_text",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "text.jsonl")}},
        "test_split": "test",
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{text}}",
        "metric_list": [{"metric": "bits_per_byte"}, {"metric": "byte_perplexity"}],
    }
    (tmp_path / "my_text.yaml").write_text(json.dumps(task))
    server = f"model=run,base_url={address}/v1/completions,tokenizer_backend=remote,max_length=100000"
    command = [python, "-m", "lm_eval", "run", "--model", "local-completions", "--model_args", server,
               "--tasks", "my_text", "--include_path", tmp_path, "--output_path", tmp_path / "out"]  # fmt: skip
    offline = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, env={**os.environ, **offline})
    assert done.returncode == 0, done.stderr
    results = json.loads(next(Path(tmp_path / "out").rglob("results*.json")).read_text())["results"]["my_text"]
    # the harness has every character predicted, the first after a line feed
    scores = [charloom.load(run).score(f"\n{page}") for page in pages]
    bits = sum(score.total_nats for score in scores) / math.log(2) / sum(map(len, pages))
    assert results["bits_per_byte,none"] == pytest.approx(bits, rel=1e-5)
    assert results["byte_perplexity,none"] == pytest.approx(2**bits, rel=1e-5)
