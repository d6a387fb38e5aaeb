"""Real clients of `charloom serve`: openai, llm, LangChain and lm-evaluation-harness."""

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
from support.server import server_process

pytestmark = pytest.mark.alone  # parallel tests could choose the same free port
PROMPT = "The loom is"


@pytest.fixture(scope="module")
def address(run):
    with server_process(run, "shakespeare") as address:
        yield address


@pytest.fixture(scope="module")
def client(address):
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def model(run):
    return charloom.load(run)


class TestOpenAI:
    def test_list_models(self, client):
        assert [model.id for model in client.models.list()] == ["run", "shakespeare"]
        assert client.models.retrieve("shakespeare").object == "model"

    def test_completion_equals_generate(self, client, model):
        options = {"temperature": 0.9, "top_p": 0.95, "seed": 7}
        done = client.completions.create(model="run", prompt=PROMPT, max_tokens=200, **options)
        assert done.object == "text_completion" and done.id.startswith("cmpl-") and done.model == "run"
        (choice,) = done.choices
        assert choice.text == after(PROMPT, model.generate(PROMPT, 200, **options))
        assert choice.finish_reason == "length" and choice.logprobs is None
        usage, read = done.usage, len(PROMPT)
        assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (read, 200, read + 200)

    def test_stream_and_usage(self, client, model):
        options = {"model": "run", "prompt": PROMPT, "max_tokens": 2000, "temperature": 0.8, "seed": 3}
        with client.completions.create(**options, stream=True, stream_options={"include_usage": True}) as stream:
            *chunks, last = stream
        assert "".join(chunk.choices[0].text for chunk in chunks) == after(PROMPT, model.generate(PROMPT, 2000, seed=3))
        *reasons, last_reason = (chunk.choices[0].finish_reason for chunk in chunks)
        assert set(reasons) <= {None} and last_reason == "length"
        assert {chunk.id for chunk in chunks} == {last.id}
        assert last.choices == [] and last.usage.completion_tokens == 2000

    def test_order_of_several_prompts_and_choices(self, client, model):
        prompts = ["The ", "Who "]
        options = {"max_tokens": 30, "temperature": 0.8, "seed": 5}
        done = client.completions.create(model="run", prompt=prompts, n=3, **options)
        assert [choice.index for choice in done.choices] == list(range(6))
        assert len({choice.text for choice in done.choices}) == 6
        for first, prompt in ((0, prompts[0]), (3, prompts[1])):
            assert done.choices[first].text == after(prompt, model.generate(prompt, 30, seed=5))
        ids = [model.vocabulary.encode(prompt).tolist() for prompt in prompts]
        from_ids = client.completions.create(model="run", prompt=ids, n=3, **options)
        assert [choice.text for choice in from_ids.choices] == [choice.text for choice in done.choices]

    def test_logprobs_equal_the_scores(self, client, model):
        done = client.completions.create(model="run", prompt=PROMPT, max_tokens=40, seed=1, logprobs=3)
        (choice,) = done.choices
        logprobs = choice.logprobs
        assert "".join(logprobs.tokens) == choice.text and len(logprobs.tokens) == 40
        assert logprobs.text_offset == list(range(40))
        for token, log_prob, top in zip(logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, strict=True):
            assert len(top) in (3, 4) and max(top.values()) <= 0
            assert top.get(token, log_prob) == log_prob
        bits = model.score(PROMPT + choice.text, precision="int8").surprisals[-40:]
        assert logprobs.token_logprobs == pytest.approx((-bits * math.log(2)).tolist(), abs=1e-3)

    def test_echo_scores_the_prompt(self, client, model):
        text = "The letters dance till the cloth is done.\n"
        options = {"max_tokens": 0, "echo": True, "logprobs": 1}
        (choice,) = client.completions.create(model="run", prompt=text, **options).choices
        assert choice.text == text and choice.logprobs.token_logprobs[0] is None
        nats = -sum(choice.logprobs.token_logprobs[1:])
        assert nats == pytest.approx(model.score(text).total_nats, rel=1e-5)

    def test_stop_sequences(self, client, model):
        expected = after(PROMPT, model.generate(PROMPT, 500, seed=2, stop=["loom", "\n"]))
        options = {"max_tokens": 500, "temperature": 0.8, "seed": 2, "stop": ["loom", "\n"]}
        (choice,) = client.completions.create(model="run", prompt=PROMPT, **options).choices
        assert (choice.text, choice.finish_reason) == (expected, "stop")

    def test_additional_sampling_parameters(self, client, model):
        own = {"top_k": 5, "min_p": 0.05, "repetition_penalty": 1.3}
        options = {"max_tokens": 100, "temperature": 0.8, "seed": 4}
        (choice,) = client.completions.create(model="run", prompt=PROMPT, **options, extra_body=own).choices
        assert choice.text == after(PROMPT, model.generate(PROMPT, 100, seed=4, **own))

    def test_unknown_character(self, client):
        with pytest.raises(openai.BadRequestError, match="SNOWMAN") as caught:
            client.completions.create(model="run", prompt="\N{SNOWMAN}")
        assert (caught.value.code, caught.value.param) == ("unknown_character", "prompt")

    @pytest.mark.parametrize("options", [
        {"suffix": "the end"}, {"temperature": 1000}, {"max_tokens": -1}, {"n": 2, "best_of": 1}, {"logprobs": 6},
        {"stop": ["a"] * 17}, {"extra_body": {"grammar": "root ::= 'x'"}},
    ], ids=lambda options: next(iter(options)))  # fmt: skip
    def test_invalid_parameters(self, client, options):
        with pytest.raises(openai.BadRequestError) as caught:
            client.completions.create(model="run", prompt=PROMPT, **options)
        assert caught.value.type == "invalid_request_error" and caught.value.message

    def test_unknown_model_and_chat(self, client):
        with pytest.raises(openai.NotFoundError, match="shakespeare"):
            client.completions.create(model="gpt", prompt=PROMPT)
        with pytest.raises(openai.NotFoundError, match="/v1/completions"):
            client.chat.completions.create(model="run", messages=[{"role": "user", "content": "Hello"}])

    def test_api_key(self, run):
        with server_process(run, "--token", "s3cret-of-the-loom") as address:
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
        """A configuration of llm with the models of the server."""
        monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
        rows = (f"- model_id: local-{name}\n  model_name: {name}\n  api_base: {address}/v1\n  completion: true\n"
                for name in ("run", "shakespeare"))  # fmt: skip
        (tmp_path / "extra-openai-models.yaml").write_text("".join(rows))

    def test_command_line(self, home, model):
        options = {"max_tokens": 80, "temperature": 0.8, "seed": 9}
        words = [word for name, value in options.items() for word in ("-o", name, str(value))]
        for stream in ([], ["--no-stream"]):
            command = [sys.executable, "-m", "llm", "-m", "local-run", PROMPT, *words, *stream]
            done = subprocess.run(command, capture_output=True, text=True, timeout=250)
            assert done.returncode == 0, done.stderr
            assert done.stdout == after(PROMPT, model.generate(PROMPT, 80, seed=9)) + "\n"

    def test_python_stream(self, home):
        answer = llm.get_model("local-shakespeare").prompt("ROMEO:", max_tokens=40_000, temperature=0.8, seed=1)
        pieces = list(answer)
        assert len(pieces) > 1  # at most 16,384 unread characters are buffered, however slow the machine
        assert "".join(pieces) == after("ROMEO:", charloom.load("shakespeare").generate("ROMEO:", 40_000, seed=1))


LANGCHAIN = """
import sys
from langchain_openai import OpenAI
model = OpenAI(base_url=sys.argv[1], api_key="none", model="run", temperature=0.8, max_tokens=60, seed=2)
print(repr(model.invoke("The loom is")))
print(repr("".join(model.stream("The loom is"))))
"""


@pytest.mark.slow
def test_langchain(address, model):
    command = [python_with("langchain_openai"), "-c", LANGCHAIN, f"{address}/v1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [repr(after(PROMPT, model.generate(PROMPT, 60, seed=2)))] * 2


@pytest.mark.slow
@pytest.mark.timeout(900)  # importing it takes half a minute, and more on a busy machine
def test_lm_evaluation_harness_measures_the_same_perplexity(address, run, text, tmp_path):
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
    # the harness scores every character; the first one follows a line feed
    scores = [charloom.load(run).score(f"\n{page}") for page in pages]
    bits = sum(score.total_nats for score in scores) / math.log(2) / sum(map(len, pages))
    assert results["bits_per_byte,none"] == pytest.approx(bits, rel=1e-5)
    assert results["byte_perplexity,none"] == pytest.approx(2**bits, rel=1e-5)
