"""A Hub that errs or means harm: nothing is left behind, nothing is read without end, each is one message."""

import json
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import validate_repo_id

from charloom._util import extras
from charloom.errors import HubError, InputError, MissingExtraError
from charloom.interop.hub import client as hub
from charloom.interop.hub.package import build_package
from charloom.model.file.model_file import save_model
from support.hub import FACTS, TOKEN, Repo
from support.models import tiny_saved

# how huggingface_hub itself calls its HTTP library
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


IMPOSSIBLE = [
    "letters", "ada/", "/letters", "a/b/c", "ada/.x", "ada/x.", "-a/b", "ada/a--b", "ada/..", "a..b/c", "ada/x.git",
    "ada/l\n", "ada/ü", "https://huggingface.co/ada/letters", "ada/" + "x" * 97,
]  # fmt: skip


def test_a_name_that_cannot_be_is_refused_with_the_form_that_can(there, quick_cli, model):
    for name in IMPOSSIBLE:
        with pytest.raises(InputError, match="It must be OWNER/NAME, such as ada/my-book"):
            hub.repo_name(name)
    for command in (["push", "-q", "--", "-a/b", model], ["pull", "-q", "../x"]):
        done = quick_cli(*command)
        assert done.code == 2 and "is no place on the Hub" in done.err and not there.seen


def test_names_that_can_be_are_those_of_huggingface_hub():
    for name in ("ada/my-book", "a/b", "A_1/x.y-z_", "ada/_x", "ada/" + "x" * 96):
        validate_repo_id(name)
        assert hub.repo_name(name) == name.partition("/")[2]


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
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'charloom\[hub\]'"):
        hub.pull("ada/letters")
    assert quick_cli("push", "ada/letters", model).code == 1
    assert quick_cli("push", "ada/letters", model, "--samples", 0, "--dry-run", "card").code == 0


def test_a_silent_hub_is_not_waited_for_for_ever(quick_cli, there, monkeypatch, model):
    import threading

    ended = threading.Event()
    there.faults["GET", "/api/models"] = there.faults["HEAD", "/ada"] = lambda handler: ended.wait(20)
    monkeypatch.setattr(hub, "TIMEOUT_SECONDS", 0.1)
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
    hub.push("ada/letters", build_package(model, "ada/letters").files, "all of it")
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
    for size in (hub.MAX_MODEL_BYTES + 1, 10**30, 0, -1, "many"):
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
