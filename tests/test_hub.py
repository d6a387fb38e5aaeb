"""Models to the Hub and back, by huggingface_hub itself, against a stand-in of the Hub on this machine."""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import yaml
from huggingface_hub import constants

from charloom.errors import HubError, InputError, MissingExtraError
from charloom.interop import hub
from charloom.interop.hub_package import pack
from charloom.interop.model_card import check_license, model_card, recipe_of
from charloom.interop.portrait import Sample, write_samples
from charloom.model.initializers import initial_weights
from charloom.model.model_file import SavedModel, load_model, save_model
from charloom.model.run_folder import checkpoint_path, checkpoint_steps
from charloom.plan.recipes import load_recipe
from charloom.plan.settings import Settings
from charloom.runtime.language_model import Model
from charloom.text.vocabulary import Vocabulary
from conftest import tiny_architecture, tiny_saved
from hub_stub import TOKEN, HubStub, Repo, serving

# how huggingface_hub itself calls its HTTP library
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

FACTS = {
    "corpus": "letters", "corpus_characters": 12345, "recipe": "auto", "settings": Settings().to_dict(),
    "train_loss": 1.1, "val_loss": 1.25, "charloom_version": "0.1.0",
}  # fmt: skip


@pytest.fixture
def there(tmp_path, monkeypatch):
    """The stand-in in place of the Hub, a token in the environment, and nothing of this person's own settings."""
    with serving(HubStub()) as stub:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(constants, "ENDPOINT", stub.hub)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", stub.hub + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
        monkeypatch.setattr("time.sleep", lambda seconds: None)  # between attempts
        yield stub


@pytest.fixture(scope="module", autouse=True)
def no_open_connections():
    yield
    huggingface_hub.close_session()


@pytest.fixture
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "letters.safetensors"
    save_model(path, tiny_saved(**FACTS))
    return path


def pushed(quick_cli, model, *more):
    done = quick_cli("push", "ada/letters", model, "--samples", 0, *more)
    assert done.code == 0, done.err
    return done


def test_what_was_pushed_comes_back_byte_for_byte(there, quick_cli, model):
    done = pushed(quick_cli, model, "--license", "mit", "--message", "The first", "--json")
    repo = there.repos["ada/letters"]
    assert [message for _, message, _ in repo.commits] == ["The first"] and not repo.private
    assert done.json["commit"] == repo.commits[0][0] and done.json["url"] == f"{there.hub}/ada/letters"
    assert done.json["files"] == {name: len(data) for name, data in repo.files.items()}
    back = quick_cli("pull", "ada/letters", "--json")
    assert back.code == 0 and back.json["commit"] == repo.commits[0][0]
    assert Path("letters.safetensors").read_bytes() == model.read_bytes()
    assert "charloom generate letters.safetensors" in back.err


def test_what_is_uploaded_is_the_model_its_card_and_its_recipe_and_no_more(there, quick_cli, run):
    last = checkpoint_path(run, checkpoint_steps(run)[-1])
    pushed(quick_cli, last)
    files = there.repos["ada/letters"].files
    assert files.keys() == {"model.safetensors", "README.md", "recipe.toml"}
    assert b"training." not in files["model.safetensors"] and b"training." in last.read_bytes()
    told = Path("told.toml")
    told.write_bytes(files["recipe.toml"])
    assert load_recipe(str(told)).settings == load_recipe(str(run / "recipe.toml")).settings
    for data in files.values():
        assert str(run).encode() not in data and b"The loom is warm" not in data


def test_weights_go_in_the_form_that_is_asked_for(there, quick_cli, model):
    pushed(quick_cli, model, "--to", "int8")
    assert quick_cli("pull", "ada/letters", "-o", "small.safetensors").code == 0
    original, small = load_model(model), load_model(Path("small.safetensors"))
    assert small.stored_as == "int8" and "as int8" in there.repos["ada/letters"].files["README.md"].decode()
    for name, value in original.weights.items():
        np.testing.assert_allclose(small.weights[name], value, atol=np.abs(value).max() / 254 + 1e-7)


def test_a_repository_that_is_there_gets_a_new_commit_and_old_ones_can_be_fetched(there, quick_cli, model):
    pushed(quick_cli, model)
    save_model(model.with_name("new.safetensors"), tiny_saved("lstm", **FACTS))
    assert "stays in its history" in pushed(quick_cli, model.with_name("new.safetensors")).err
    first = there.repos["ada/letters"].commits[0][0]
    assert quick_cli("pull", "ada/letters", "--revision", first, "-o", "old.safetensors").code == 0
    assert Path("old.safetensors").read_bytes() == model.read_bytes()


def test_a_new_repository_can_be_private_and_a_public_one_is_not_taken_for_it(there, quick_cli, model):
    pushed(quick_cli, model, "--private")
    assert there.repos["ada/letters"].private
    there.repos["ada/letters"].private = False
    done = quick_cli("push", "ada/letters", model, "--private")
    assert done.code == 2 and "is there already, and public" in done.err
    assert len(there.repos["ada/letters"].commits) == 1


def test_the_token_goes_to_the_hub_alone_and_nowhere_else(there, quick_cli, model, monkeypatch):
    done = pushed(quick_cli, model)
    fetched = quick_cli("pull", "ada/letters", "-o", "back.safetensors")
    assert {seen.token for seen in there.seen if seen.host == "hub"} == {TOKEN}
    assert [seen.token for seen in there.asked("GET", "store")] == [None]  # it was sent on to another host
    assert {seen.token for seen in there.seen if seen.host == "store"} == {None}
    assert TOKEN not in done.err + done.out + fetched.err + fetched.out


def test_a_dry_run_writes_what_would_be_uploaded_and_asks_nobody(there, quick_cli, model):
    pushed(quick_cli, model, "--dry-run", "card", "--license", "mit")
    assert not there.seen
    pushed(quick_cli, model, "--license", "mit")
    assert {path.name: path.read_bytes() for path in Path("card").iterdir()} == there.repos["ada/letters"].files
    again = quick_cli("push", "ada/letters", model, "--dry-run", "card")
    assert again.code == 2 and "card exists already" in again.err


# the card


def metadata(card):
    return yaml.safe_load(card.split("---\n")[1])


def test_the_cards_facts_are_the_models(model):
    saved = load_model(model)
    card = model_card(saved, "ada/letters", "mit", list(write_samples(saved, [7, 8])), recipe_of(saved))
    told = metadata(card)
    assert (told["license"], told["library_name"], told["pipeline_tag"]) == ("mit", "charloom", "text-generation")
    (result,) = told["model-index"][0]["results"]
    bits = 1.25 / np.log(2)
    assert result["dataset"]["name"] == "letters" and result["metrics"][0]["value"] == pytest.approx(bits, abs=1e-4)
    assert f"{bits:.3f} bits" in card and "| trained on | letters |" in card and "12,345 characters" in card
    assert f"{sum(w.size for w in saved.weights.values()):,}, as float32" in card
    for seed in (7, 8):
        text = Model(saved).generate("", 400, 0.8, seed, precision="int8")
        assert f"Seed {seed}:\n\n```text\n{text}" in card
    assert f"\nhidden_size = {Settings().hidden_size}\n" in card


def test_what_is_not_known_is_not_told():
    saved = tiny_saved()
    card = model_card(saved, "ada/letters")
    assert metadata(card).keys() == {"library_name", "pipeline_tag", "tags"}
    assert "bits per" not in card and "recipe" not in card and "No licence is stated" in card
    assert recipe_of(saved) is None and recipe_of(tiny_saved(**FACTS | {"settings": {"seed": 1}})) is None


def test_without_a_licence_that_is_said(quick_cli, model):
    assert "states no licence" in quick_cli("push", "a/b", model, "--samples", 0, "--dry-run", "card").err


HOSTILE = "x](http://evil) <script>alert(1)</script> | ``` `a` $$ \\ www.evil.com --- \"q\": {y} 'z' #"


def test_names_out_of_a_file_are_text_in_yaml_and_markdown():
    told = FACTS | {"corpus": HOSTILE, "recipe": HOSTILE}
    saved = tiny_saved(**told)
    card = model_card(saved, "ada/letters", None, (), recipe_of(saved))
    assert metadata(card)["model-index"][0]["results"][0]["dataset"]["name"] == HOSTILE
    body = card.split("---\n", 2)[2]
    outside = re.sub(r"^(`{3,})\w*\n.*?^\1$", "", body, flags=re.M | re.S)
    unescaped = re.sub(r"\\.", "", outside)
    assert "evil" in outside and not re.search(r"<|\]|www\.|https?:|\$|&", unescaped)
    assert {line.count("|") for line in unescaped.splitlines() if "|" in line} == {3}


@pytest.mark.parametrize("text", ["```\n# no heading\n```", "````````", "a\n~~~\n<b>\n", "`", ""])
def test_samples_stay_inside_their_fence(text):
    card = model_card(tiny_saved(), "ada/letters", samples=[Sample(1, "", text)])
    fence = re.search(r"Seed 1:\n\n(`{3,})text\n", card)[1]
    inside = card.split(f"{fence}text\n")[-1] if "`" in text else card.split("Seed 1:\n\n```text\n")[1]
    assert inside.split(f"\n{fence}\n")[0] == text.removesuffix("\n")
    assert fence not in text


def test_samples_show_no_control_characters():
    architecture = replace(tiny_architecture(), vocabulary_size=5)
    saved = SavedModel(architecture, Vocabulary("\x1b\r\x85\0a"), initial_weights(architecture, 1))
    (sample,) = write_samples(saved, [1])
    assert set(sample.text) <= {"\ufffd", "\n", "a"} and "\ufffd" in sample.text
    assert model_card(saved, "ada/letters", samples=[sample]).replace("\n", "").isprintable()


@pytest.mark.parametrize("name", ["MIT", "", "-mit", "a b", "x: y", "mit\n", "a" * 80])
def test_a_licence_is_named_as_the_hub_names_it(name):
    with pytest.raises(InputError, match="small letters"):
        check_license(name)


# what can go wrong


IMPOSSIBLE = [
    "letters", "ada/", "/letters", "a/b/c", "ada/.x", "ada/x.", "-a/b", "ada/a--b", "ada/..", "a..b/c", "ada/x.git",
    "ada/l\n", "ada/ü", "https://huggingface.co/ada/letters", "ada/" + "x" * 97,
]  # fmt: skip


def test_a_name_that_cannot_be_is_refused_with_the_form_that_can(there, quick_cli, model):
    for name in IMPOSSIBLE:
        with pytest.raises(InputError, match="It must be OWNER/NAME, such as ada/my-book"):
            hub.name_of(name)
    for command in (["push", "-q", "--", "-a/b", model], ["pull", "-q", "../x"]):
        done = quick_cli(*command)
        assert done.code == 2 and "is no place on the Hub" in done.err and not there.seen


def test_names_that_can_be_are_those_of_huggingface_hub():
    for name in ("ada/my-book", "a/b", "A_1/x.y-z_", "ada/_x", "ada/" + "x" * 96):
        huggingface_hub.utils.validate_repo_id(name)
        assert hub.name_of(name) == name.partition("/")[2]


@pytest.mark.parametrize(
    ("command", "environment", "code", "said"),
    [
        (["pull", "ada/none"], TOKEN, 2, "There is no model ada/none"),
        (["pull", "ada/none"], None, 2, "There is no model ada/none"),
        (["pull", "ada/hidden"], None, 2, "or it is private"),
        (["pull", "ada/letters"], "hf_wrong", 1, "does not accept your token"),
        (["pull", "ada/letters", "--revision", "v9"], TOKEN, 2, "has no such revision"),
        (["pull", "ada/empty"], TOKEN, 2, "holds no model.safetensors"),
        (["push", "ada/letters", "MODEL"], None, 1, "there is no token: `hf auth login`"),
        (["push", "ada/letters", "MODEL"], "hf_wrong", 1, "does not accept your token"),
        (["push", "bob/letters", "MODEL"], TOKEN, 1, "may not do this with bob/letters"),
        (["push", "ada/letters", "MODEL", "--license", "beer"], TOKEN, 2, '"license" must be one of'),
        (["push", "ada/letters", "MODEL", "--license", "MIT"], TOKEN, 2, "in small letters"),
        (["push", "ada/letters", "MODEL", "--message", " "], TOKEN, 2, "message is empty"),
        (["push", "ada/letters", "none"], TOKEN, 2, "There is no model 'none'"),
    ],
)
def test_what_is_refused_is_said_in_one_sentence(
    there, quick_cli, model, monkeypatch, command, environment, code, said
):
    there.repos |= {"ada/letters": Repo(), "ada/hidden": Repo(private=True), "ada/empty": Repo()}
    for repo in there.repos.values():
        repo.commit("nothing")
    monkeypatch.delenv("HF_TOKEN")
    if environment:
        monkeypatch.setenv("HF_TOKEN", environment)
    done = quick_cli(*(str(model) if word == "MODEL" else word for word in command), "-q")
    assert (done.code, done.out) == (code, "") and said in done.err, done.err
    assert done.err.count("\n") == 1 and done.err.startswith("Error: ") and "hf_" not in done.err.replace("hf_hub", "")


def test_the_hub_that_cannot_be_reached_is_named(quick_cli, there, monkeypatch, model):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/{revision}/{filename}")
    for command in (["pull", "ada/letters"], ["push", "ada/letters", model]):
        done = quick_cli(*command, "-q")
        assert done.code == 1 and "The connection to http://127.0.0.1:9 failed" in done.err


def test_offline_mode_is_said(quick_cli, there, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    done = quick_cli("pull", "ada/letters")
    assert done.code == 1 and "HF_HUB_OFFLINE is set" in done.err


def test_without_the_library_it_says_how_to_get_it(quick_cli, monkeypatch, model):
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'charloom\[hub\]'"):
        hub.pull("ada/letters")
    assert quick_cli("push", "ada/letters", model).code == 1
    assert quick_cli("push", "ada/letters", model, "--samples", 0, "--dry-run", "card").code == 0


def test_a_silent_hub_is_not_waited_for_for_ever(quick_cli, there, monkeypatch, model):
    import threading

    ended = threading.Event()
    there.faults["GET", "/api/models"] = there.faults["HEAD", "/ada"] = lambda handler: ended.wait(20)
    monkeypatch.setattr(hub, "PATIENCE", 0.1)
    for command in (["pull", "ada/letters"], ["push", "ada/letters", model]):
        done = quick_cli(*command, "-q")
        assert done.code == 1 and "failed" in done.err
    ended.set()


@pytest.mark.parametrize("status", [400, 403, 409, 413, 429, 500, 503])
def test_any_refusal_of_the_upload_is_one_message(quick_cli, there, model, status):
    there.repos["ada/letters"] = Repo()
    there.faults["POST", "/api/models/ada/letters/commit"] = lambda handler: handler.refuse(status, said="no\x1b[2Jway")
    done = quick_cli("push", "ada/letters", model, "-q", "--samples", 0)
    assert done.code in (1, 2) and done.err.count("\n") == 1 and "\x1b" not in done.err and "no\\x1b[2Jway" in done.err
    assert not there.repos["ada/letters"].commits


@pytest.mark.parametrize("status", [403, 500])
def test_a_store_that_refuses_the_file_is_said(quick_cli, there, model, status):
    there.faults["PUT", "/store"] = lambda handler: handler.refuse(status)
    done = quick_cli("push", "ada/letters", model, "-q", "--samples", 0)
    assert done.code == 1 and done.err.count("\n") == 1


def test_a_file_that_the_hub_left_out_is_missed(quick_cli, there, model):
    pushed(quick_cli, model)
    repo = there.repos["ada/letters"]

    def ignore(handler):
        files = json.loads(handler.body)["files"]
        handler.send_json({"files": [{"path": f["path"], "uploadMode": "lfs", "shouldIgnore": True} for f in files]})

    there.faults["POST", "/api/models/ada/letters/preupload"] = ignore
    save_model(model, tiny_saved("lstm", **FACTS))
    done = quick_cli("push", "ada/letters", model, "-q", "--samples", 0)
    assert done.code == 1 and "ada/letters has no model.safetensors of" in done.err
    assert len(repo.commits) == 2


NONSENSE = [b"", b"{", b"[]", b"null", b'"text"', b'{"files": 3}', b"<html>", b"\xff\xfe", b"[" * 10000]


@pytest.mark.parametrize("path", ["/preupload", "/commit", "/paths-info", ""])
@pytest.mark.parametrize("body", NONSENSE[:2] + [pytest.param(body, marks=pytest.mark.slow) for body in NONSENSE[2:]])
def test_answers_that_are_none_are_said_to_be_so(there, path, body):
    there.repos["ada/letters"] = Repo()
    there.faults["POST" if path else "GET", f"/api/models/ada/letters{path}"] = lambda handler: handler.send(200, body)
    with pytest.raises(HubError, match=r"no answer of a Hub|after the upload") as caught:
        hub.push("ada/letters", {"README.md": b"---\n{}\n---\n"}, "all of it")
    assert str(caught.value).isprintable()


# what comes from the Hub is hostile until it is checked


def serve_file(there, data):
    repo = there.repos["ada/letters"] = Repo(files={"model.safetensors": data})
    return repo.commit("theirs")


def test_a_file_that_is_no_model_of_charloom_is_refused_and_nothing_is_left(quick_cli, there, model):
    good = model.read_bytes()
    foreign = json.dumps({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    foreign = len(foreign).to_bytes(8, "little") + foreign + bytes(4)
    for data in (b"PK\x03\x04", good[:-1], good + b"x", good[:200] + b"!" + good[201:], foreign, b"\xff" * 1000):
        serve_file(there, data)
        done = quick_cli("pull", "ada/letters")
        assert done.code == 2 and "model.safetensors of ada/letters is not a model that charloom can use" in done.err
        assert not list(Path().iterdir())


def test_sizes_that_cannot_be_are_refused_before_anything_is_fetched(quick_cli, there, model):
    commit = serve_file(there, b"x")
    for size in (hub.LARGEST + 1, 10**30, 0, -1, "many"):
        told = {"X_Repo_Commit": commit, "X_Linked_Size": size, "ETag": '"x"'}
        there.faults["HEAD", "/ada"] = lambda handler: handler.send(302, Location=there.store, **told)  # noqa: B023
        done = quick_cli("pull", "ada/letters", "-o", "got.safetensors")
        assert done.code == 2 and "accepted are 1 to 2,000,000,000" in done.err, done.err
    assert not there.asked("GET") and not Path("got.safetensors").exists()


def endless(handler):
    """Send more than was announced, for as long as somebody reads."""
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    try:
        for _ in range(100_000):
            handler.wfile.write(b"10000\r\n" + bytes(65536) + b"\r\n")
    except OSError:
        handler.close_connection = True


def test_no_more_is_read_than_was_announced(quick_cli, there):
    serve_file(there, bytes(1000))
    there.faults["GET", "/ada/letters/resolve"] = endless
    done = quick_cli("pull", "ada/letters")
    assert done.code == 1 and "More was sent than the 1,000 bytes that were announced" in done.err
    assert not list(Path().iterdir())


def cut(handler):
    handler.send(200, bytes(10), Content_Length=1000)
    handler.close_connection = True


def short(handler):
    handler.send(200, bytes(10))


@pytest.mark.parametrize("fault", [cut, short])
def test_a_download_that_ends_too_early_is_an_error(quick_cli, there, fault):
    serve_file(there, bytes(1000))
    there.faults["GET", "/ada/letters/resolve"] = fault
    done = quick_cli("pull", "ada/letters", "-q")
    assert done.code == 1 and "failed" in done.err and done.err.count("\n") == 1
    assert not list(Path().iterdir())


def test_a_hub_that_names_no_commit_is_none(quick_cli, there):
    serve_file(there, b"x")
    for commit in ("", "../../evil", "x" * 40):
        there.faults["HEAD", "/ada"] = lambda handler: handler.send(200, b"x", ETag='"x"', X_Repo_Commit=commit)  # noqa: B023
        done = quick_cli("pull", "ada/letters")
        assert done.code == 1 and "did not say of which commit" in done.err


def test_going_round_in_circles_ends(quick_cli, there):
    there.faults["HEAD", "/"] = lambda handler: handler.send(302, Location=handler.path + "x")
    done = quick_cli("pull", "ada/letters", "-q")
    assert done.code == 1 and done.err.count("\n") == 1


def test_a_file_that_is_there_is_never_overwritten(quick_cli, there, model):
    serve_file(there, model.read_bytes())
    Path("letters.safetensors").write_text("mine")
    done = quick_cli("pull", "ada/letters")
    assert done.code == 2 and "letters.safetensors exists already" in done.err and not there.seen
    assert Path("letters.safetensors").read_text() == "mine"


def test_a_public_model_needs_no_token(quick_cli, there, model, monkeypatch):
    serve_file(there, model.read_bytes())
    monkeypatch.delenv("HF_TOKEN")
    assert quick_cli("pull", "ada/letters", "-o", "got.safetensors").code == 0
    assert {seen.token for seen in there.seen} == {None}


def test_in_python_the_errors_are_charlooms(there, model):
    package = pack(model, "ada/letters")
    with pytest.raises(HubError, match="may not do this"):
        hub.push("bob/letters", package.files, "no")
    with pytest.raises(InputError, match="no model ada/none"):
        hub.pull("ada/none")


@pytest.mark.slow
def test_a_process_of_its_own_asks_the_hub_for_nothing_but_this(cli, model, tmp_path):
    with serving(HubStub()) as stub:
        own = {"HF_ENDPOINT": stub.hub, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "hf")}
        assert cli("push", "ada/letters", model, "--samples", 1, **own).code == 0
        done = cli("pull", "ada/letters", **own)
        assert done.code == 0 and Path("letters.safetensors").read_bytes() == model.read_bytes()
        known = (
            "/api/models/ada/letters",
            "/api/repos/create",
            "/api/validate-yaml",
            "/ada/letters",
            "/verify",
            "/store/",
        )
        assert all(seen.path.startswith(known) and "xet" not in seen.path for seen in stub.seen)
        assert not any("torch" in seen.agent for seen in stub.seen)


DOCS = Path(__file__).parents[1] / "docs" / "hub.md"


def test_the_page_on_the_hub_runs(there, run, quick_cli, monkeypatch):
    page = DOCS.read_text(encoding="utf-8")
    commands = re.findall(r"^\$ charloom (.+)$", page, re.M)
    assert len(commands) >= 5
    done = [quick_cli(*shlex.split(command.replace("runs/my_book", str(run)))) for command in commands]
    assert [result.code for result in done] == [0] * len(commands), [result.err for result in done]
    assert {path.name for path in Path("card").iterdir()} == there.repos["ada/my-book"].files.keys()
    for name in re.findall(r"^\| `(--[\w-]+)", page, re.M):
        assert name in quick_cli("push", "--help").out + quick_cli("pull", "--help").out


@pytest.mark.slow
def test_the_pages_python_runs(there, run):
    hub.push("ada/my-book", pack(run / "model.safetensors", "ada/my-book").files, "once")
    (code,) = re.findall(r"^```python\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.M | re.S)
    environment = {**os.environ, "HF_ENDPOINT": there.hub}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0 and "The " in done.stdout, done.stderr
