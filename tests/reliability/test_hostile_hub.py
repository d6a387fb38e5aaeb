"""A faulty or malicious Hub: each fault gives one error message, leaves no file behind and reads no endless data."""

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
from support.errors import cli_error, raises_code
from support.hub import FACTS, TOKEN, Repo
from support.models import tiny_saved

# raised by the way huggingface_hub calls its HTTP library
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


INVALID_NAMES = [
    "letters", "ada/", "/letters", "a/b/c", "ada/.x", "ada/x.", "-a/b", "ada/a--b", "ada/..", "a..b/c", "ada/x.git",
    "ada/l\n", "ada/ü", "https://huggingface.co/ada/letters", "ada/" + "x" * 97,
]  # fmt: skip


def test_invalid_repository_names_are_rejected(hub_stub, quick_cli, model):
    for name in INVALID_NAMES:
        with raises_code("invalid_repository_name", InputError, repository=name):
            hub.repo_name(name)
    for command in (["push", "-q", "--json", "--", "-a/b", model], ["pull", "-q", "../x", "--json"]):
        cli_error(quick_cli(*command), "invalid_repository_name")
        assert not hub_stub.seen


def test_valid_repository_names_are_those_of_huggingface_hub():
    for name in ("ada/my-book", "a/b", "A_1/x.y-z_", "ada/_x", "ada/" + "x" * 96):
        validate_repo_id(name)
        assert hub.repo_name(name) == name.partition("/")[2]


@pytest.mark.parametrize(
    ("command", "token", "exit_code", "code"),
    [
        (["pull", "ada/none"], TOKEN, 2, "hub_repository_not_found"),
        (["pull", "ada/none"], None, 2, "hub_repository_not_found"),
        (["pull", "ada/hidden"], None, 2, "hub_repository_not_found"),
        (["pull", "ada/letters"], "hf_wrong", 1, "hub_token_rejected"),
        (["pull", "ada/letters", "--revision", "v9"], TOKEN, 2, "hub_revision_not_found"),
        (["pull", "ada/empty"], TOKEN, 2, "hub_file_not_found"),
        (["push", "ada/letters", "MODEL"], None, 1, "hub_token_missing"),
        (["push", "ada/letters", "MODEL"], "hf_wrong", 1, "hub_token_rejected"),
        (["push", "bob/letters", "MODEL"], TOKEN, 1, "hub_permission_denied"),
        (["push", "ada/letters", "MODEL", "--license", "beer"], TOKEN, 2, "hub_request_refused"),
        (["push", "ada/letters", "MODEL", "--license", "MIT"], TOKEN, 2, "invalid_license"),
        (["push", "ada/letters", "MODEL", "--message", " "], TOKEN, 2, "empty_commit_message"),
        (["push", "ada/letters", "none"], TOKEN, 2, "model_not_found"),
    ],
)
def test_rejections_have_one_message_and_a_code(
    hub_stub, quick_cli, model, monkeypatch, command, token, exit_code, code
):
    hub_stub.repos |= {"ada/letters": Repo(), "ada/hidden": Repo(private=True), "ada/empty": Repo()}
    for repo in hub_stub.repos.values():
        repo.commit("nothing")
    monkeypatch.delenv("HF_TOKEN")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    arguments = [str(model) if word == "MODEL" else word for word in command]
    done = quick_cli(*arguments, "-q")
    assert (done.code, done.out) == (exit_code, "")
    assert done.err.count("\n") == 1 and done.err.startswith("Error: ") and "hf_" not in done.err.replace("hf_hub", "")
    cli_error(quick_cli(*arguments, "-q", "--json"), code, exit_code)


def test_unreachable_hub_is_reported(quick_cli, hub_stub, monkeypatch, model):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/{revision}/{filename}")
    for command in (["pull", "ada/letters"], ["push", "ada/letters", model]):
        done = quick_cli(*command, "-q", "--json")
        cli_error(done, "hub_unreachable", 1, endpoint="http://127.0.0.1:9")


def test_offline_mode_is_reported(quick_cli, hub_stub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    cli_error(quick_cli("pull", "ada/letters", "--json"), "hub_offline", 1)


def test_missing_huggingface_hub_is_reported(quick_cli, monkeypatch, model):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with raises_code("missing_extra", MissingExtraError, extra="hub"):
        hub.pull("ada/letters")
    assert quick_cli("push", "ada/letters", model).code == 1
    assert quick_cli("push", "ada/letters", model, "--samples", 0, "--dry-run", "card").code == 0


def test_requests_time_out(quick_cli, hub_stub, monkeypatch, model):
    import threading

    ended = threading.Event()
    hub_stub.faults["GET", "/api/models"] = hub_stub.faults["HEAD", "/ada"] = lambda handler: ended.wait(20)
    monkeypatch.setattr(hub, "TIMEOUT_SECONDS", 0.1)
    for command in (["pull", "ada/letters"], ["push", "ada/letters", model]):
        cli_error(quick_cli(*command, "-q", "--json"), "hub_unreachable", 1)
    ended.set()


@pytest.mark.parametrize("status", [400, 403, 409, 413, 429, 500, 503])
def test_rejected_upload_has_one_message(quick_cli, hub_stub, model, status):
    hub_stub.repos["ada/letters"] = Repo()
    hub_stub.faults["POST", "/api/models/ada/letters/commit"] = lambda handler: handler.refuse(
        status, message="no\x1b[2Jway"
    )
    done = quick_cli("push", "ada/letters", model, "-q", "--samples", 0)
    assert done.code in (1, 2) and done.err.count("\n") == 1 and "\x1b" not in done.err and "no\\x1b[2Jway" in done.err
    assert not hub_stub.repos["ada/letters"].commits


@pytest.mark.parametrize("status", [403, 500])
def test_storage_that_rejects_a_file_is_reported(quick_cli, hub_stub, model, status):
    hub_stub.faults["PUT", "/store"] = lambda handler: handler.refuse(status)
    done = quick_cli("push", "ada/letters", model, "-q", "--samples", 0)
    assert done.code == 1 and done.err.count("\n") == 1


def test_file_missing_after_upload_is_reported(quick_cli, hub_stub, model):
    hub.push("ada/letters", build_package(model, "ada/letters").files, "all of it")
    repo = hub_stub.repos["ada/letters"]

    def ignore(handler):
        files = json.loads(handler.body)["files"]
        handler.send_json({"files": [{"path": f["path"], "uploadMode": "lfs", "shouldIgnore": True} for f in files]})

    hub_stub.faults["POST", "/api/models/ada/letters/preupload"] = ignore
    save_model(model, tiny_saved("lstm", **FACTS))
    done = quick_cli("push", "ada/letters", model, "-q", "--samples", 0, "--json")
    cli_error(done, "hub_upload_incomplete", 1, file="model.safetensors")
    assert len(repo.commits) == 2


NONSENSE = [b"", b"{", b"[]", b"null", b'"text"', b'{"files": 3}', b"<html>", b"\xff\xfe", b"[" * 10000]


@pytest.mark.parametrize("path", ["/preupload", "/commit", "/paths-info", ""])
@pytest.mark.parametrize("body", NONSENSE[:2] + [pytest.param(body, marks=pytest.mark.slow) for body in NONSENSE[2:]])
def test_invalid_responses_are_reported(hub_stub, path, body):
    hub_stub.repos["ada/letters"] = Repo()
    hub_stub.faults["POST" if path else "GET", f"/api/models/ada/letters{path}"] = lambda handler: handler.send(
        200, body
    )
    with pytest.raises(HubError) as caught:
        hub.push("ada/letters", {"README.md": b"---\n{}\n---\n"}, "all of it")
    assert caught.value.code in ("hub_invalid_response", "hub_upload_incomplete") and str(caught.value).isprintable()


# downloads are untrusted until they are verified


def serve_file(hub_stub, data):
    repo = hub_stub.repos["ada/letters"] = Repo(files={"model.safetensors": data})
    return repo.commit("theirs")


def test_invalid_model_files_are_rejected_and_not_written(quick_cli, hub_stub, model):
    good = model.read_bytes()
    foreign = json.dumps({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    foreign = len(foreign).to_bytes(8, "little") + foreign + bytes(4)
    for data in (b"PK\x03\x04", good[:-1], good + b"x", good[:200] + b"!" + good[201:], foreign, b"\xff" * 1000):
        serve_file(hub_stub, data)
        done = quick_cli("pull", "ada/letters", "--json")
        assert (
            done.code == 2 and "model.safetensors" in done.error["message"] and "ada/letters" in done.error["message"]
        )
        assert not list(Path().iterdir())


def test_invalid_sizes_are_rejected_before_the_download(quick_cli, hub_stub, model):
    commit = serve_file(hub_stub, b"x")
    for size in (hub.MAX_MODEL_BYTES + 1, 10**30, 0, -1, "many"):
        headers = {"X_Repo_Commit": commit, "X_Linked_Size": size, "ETag": '"x"'}
        hub_stub.faults["HEAD", "/ada"] = lambda handler: handler.send(302, Location=hub_stub.store, **headers)  # noqa: B023
        done = quick_cli("pull", "ada/letters", "-o", "got.safetensors", "--json")
        cli_error(done, "hub_file_size", maximum=2_000_000_000)
    assert not hub_stub.requests("GET") and not Path("got.safetensors").exists()


def endless(handler):
    """Send data until the client closes the connection."""
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    try:
        for _ in range(100_000):
            handler.wfile.write(b"10000\r\n" + bytes(65536) + b"\r\n")
    except OSError:
        handler.close_connection = True


def test_download_stops_at_the_announced_size(quick_cli, hub_stub):
    serve_file(hub_stub, bytes(1000))
    hub_stub.faults["GET", "/ada/letters/resolve"] = endless
    cli_error(quick_cli("pull", "ada/letters", "--json"), "hub_download_too_long", 1, announced=1000)
    assert not list(Path().iterdir())


def truncated(handler):
    handler.send(200, bytes(10), Content_Length=1000)
    handler.close_connection = True


def shorter_than_announced(handler):
    handler.send(200, bytes(10))


@pytest.mark.parametrize("fault", [truncated, shorter_than_announced])
def test_truncated_download_is_an_error(quick_cli, hub_stub, fault):
    serve_file(hub_stub, bytes(1000))
    hub_stub.faults["GET", "/ada/letters/resolve"] = fault
    done = quick_cli("pull", "ada/letters", "-q")
    assert done.code == 1 and done.err.count("\n") == 1
    assert not list(Path().iterdir())


def test_response_without_commit_is_rejected(quick_cli, hub_stub):
    serve_file(hub_stub, b"x")
    for commit in ("", "../../evil", "x" * 40):
        hub_stub.faults["HEAD", "/ada"] = lambda handler: handler.send(200, b"x", ETag='"x"', X_Repo_Commit=commit)  # noqa: B023
        cli_error(quick_cli("pull", "ada/letters", "--json"), "hub_invalid_response", 1)


def test_redirect_loop_ends(quick_cli, hub_stub):
    hub_stub.faults["HEAD", "/"] = lambda handler: handler.send(302, Location=handler.path + "x")
    done = quick_cli("pull", "ada/letters", "-q")
    assert done.code == 1 and done.err.count("\n") == 1


def test_existing_file_is_not_overwritten(quick_cli, hub_stub, model):
    serve_file(hub_stub, model.read_bytes())
    Path("letters.safetensors").write_text("mine")
    cli_error(quick_cli("pull", "ada/letters", "--json"), "file_exists", path="letters.safetensors")
    assert not hub_stub.seen
    assert Path("letters.safetensors").read_text() == "mine"
