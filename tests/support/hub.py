"""A stub of the Hugging Face Hub on this machine, with the part of the API that huggingface_hub uses.

Large files are on a second server, as on the real Hub, so that downloads are redirected to another host. The fixture
``hub_stub`` replaces the Hub with the stub; ``model`` is a model file to push.
"""

import base64
import hashlib
import json
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from charloom.model.file.model_file import save_model
from charloom.planning.settings import Settings
from support.models import tiny_saved

TOKEN = "hf_only_for_this_test"
FACTS = {
    "corpus": "letters", "corpus_characters": 12345, "recipe": "auto", "settings": Settings().to_dict(),
    "train_loss": 1.1, "val_loss": 1.25, "charloom_version": "0.1.0",
}  # fmt: skip
LICENSES = ("mit", "apache-2.0", "cc0-1.0", "other")


@dataclass
class Repo:
    private: bool = False
    files: dict = field(default_factory=dict)  # name -> bytes
    commits: list = field(default_factory=list)  # (id, message, the files then)

    def commit(self, message):
        commit_id = hashlib.sha1(f"{len(self.commits)} {message}".encode()).hexdigest()
        self.commits.append((commit_id, message, dict(self.files)))
        return commit_id

    def at(self, revision):
        """Return (commit, files) of a revision, or None."""
        matches = [(commit, files) for commit, _, files in self.commits if revision in ("main", commit)]
        return matches[-1] if matches else None


@dataclass
class Seen:
    method: str
    host: str  # "hub" or "store"
    path: str
    token: str | None
    agent: str


class HubStub:
    """Repositories, received requests, and faults: ``faults[method, path prefix]`` handles a request instead."""

    def __init__(self):
        self.repos, self.blobs, self.seen, self.faults = {}, {}, [], {}
        self.hub = self.store = ""  # addresses

    def requests(self, method, host="hub"):
        return [seen for seen in self.seen if (seen.method, seen.host) == (method, host)]


class _Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):  # a client may close the connection at any time
            super().handle_error(request, client_address)


@contextmanager
def serving(stub):
    """Serve a stub under two host names of this machine."""
    servers = []
    for name, address in {"hub": "127.0.0.1", "store": "localhost"}.items():
        handler = type("Handler", (_Handler,), {"stub": stub, "host": name})
        server = _Server(("127.0.0.1", 0), handler)
        setattr(stub, name, f"http://{address}:{server.server_address[1]}")
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
    try:
        yield stub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # head and body in one packet
    disable_nagle_algorithm = True

    def _any(self):
        self.body = self._read()
        self.route = unquote(urlsplit(self.path).path)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        self.stub.seen.append(Seen(self.command, self.host, self.route, token, self.headers["User-Agent"]))
        for (method, start), fault in self.stub.faults.items():
            if method == self.command and self.route.startswith(start):
                return fault(self)
        if token not in (None, TOKEN):
            return self.refuse(401, message="Invalid credentials in Authorization header")
        self.known = token == TOKEN
        return self._answer()

    do_GET = do_HEAD = do_POST = do_PUT = _any

    def log_message(self, *_):
        pass

    def _read(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def send(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        if not any(name.lower() == "content-length" for name in headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_json(self, value, status=200):
        self.send(status, json.dumps(value).encode(), Content_Type="application/json")

    def refuse(self, status, code=None, message=None):
        headers = {"X_Error_Code": code, "X_Error_Message": message}
        self.send(status, **{name: value for name, value in headers.items() if value})

    def _answer(self):
        if self.route.startswith(("/store/", "/verify")):
            return self._store()
        if self.route == "/api/repos/create":
            return self._create()
        if self.route == "/api/validate-yaml":
            return self._validate()
        api, rest = self.route.startswith("/api/models/"), self.route.removeprefix("/api/models/").lstrip("/")
        owner, name, *more = rest.split("/")
        repo = self.stub.repos.get(f"{owner}/{name.removesuffix('.git')}")
        if repo is None or (repo.private and not self.known):
            return self.refuse(404 if self.known else 401, "RepoNotFound", "Repository not found")
        if self.command == "POST" and not self.known and "paths-info" not in more:
            return self.refuse(403, message="you must log in")
        if not more and api:
            return self.send_json({"id": f"{owner}/{name}", "private": repo.private, "siblings": []})
        return getattr(self, f"_{more[0].replace('-', '_')}")(repo, *more[1:])

    def _create(self):
        request = json.loads(self.body)
        if not self.known:
            return self.refuse(401, message="you must log in")
        if request["organization"] != "ada":
            return self.refuse(
                403, message=f"You don't have the rights to create a model under {request['organization']}"
            )
        private = request.get("private") or request.get("visibility") == "private"
        self.stub.repos[f"ada/{request['name']}"] = Repo(private)
        return self.send_json({"url": f"{self.stub.hub}/ada/{request['name']}"})

    def _validate(self):
        import yaml  # tests/conftest.py loads this module everywhere, also where nothing but pytest is installed

        metadata = yaml.safe_load(json.loads(self.body)["content"].split("---\n")[1])
        if metadata.get("license", "mit") not in LICENSES:
            return self.send_json({"errors": [{"message": '"license" must be one of [...]'}], "warnings": []}, 400)
        return self.send_json({"errors": [], "warnings": []})

    def _preupload(self, repo, revision):
        files = json.loads(self.body)["files"]
        modes = {True: "lfs", False: "regular"}
        answers = [
            {"path": f["path"], "uploadMode": modes[f["path"].endswith(".safetensors")], "shouldIgnore": False}
            for f in files
        ]
        self.send_json({"files": answers})

    def _info(self, repo, *_):  # OWNER/NAME.git/info/lfs/objects/batch
        objects = [
            {**o, "actions": {"upload": {"href": f"{self.stub.store}/store/{o['oid']}"},
                              "verify": {"href": f"{self.stub.hub}/verify"}}}
            for o in json.loads(self.body)["objects"]
        ]  # fmt: skip
        self.send_json({"transfer": "basic", "objects": objects})

    def _store(self):
        digest = self.route.rpartition("/")[2]
        if self.command == "PUT":
            assert hashlib.sha256(self.body).hexdigest() == digest
            self.stub.blobs[digest] = self.body
            return self.send(200)
        if self.command == "POST":
            blob = json.loads(self.body)
            return self.send(200 if len(self.stub.blobs.get(blob["oid"], "")) == blob["size"] else 422)
        return self.send(200, self.stub.blobs[digest])

    def _commit(self, repo, revision):
        message = ""
        for line in map(json.loads, self.body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                message = value["summary"]
            elif line["key"] == "file":
                repo.files[value["path"]] = base64.b64decode(value["content"])
            else:
                repo.files[value["path"]] = self.stub.blobs[value["oid"]]
        commit = repo.commit(message)
        self.send_json({"success": True, "commitOid": commit, "commitUrl": f"{self.stub.hub}/ada/x/commit/{commit}"})

    def _paths_info(self, repo, revision):
        _, files = repo.at(revision)
        names = parse_qs(self.body.decode())["paths"]
        self.send_json([
            {"type": "file", "path": name, "size": len(files[name]), "oid": hashlib.sha1(files[name]).hexdigest()}
            for name in names if name in files
        ])  # fmt: skip

    def _resolve(self, repo, revision, name):
        match = repo.at(revision)
        if match is None:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        commit, files = match
        if name not in files:
            return self.refuse(404, "EntryNotFound", "Entry not found")
        data = files[name]
        digest = hashlib.sha256(data).hexdigest()
        headers = {"X_Repo_Commit": commit, "X_Linked_Size": len(data), "X_Linked_Etag": f'"{digest}"'}
        if digest in self.stub.blobs:
            return self.send(302, Location=f"{self.stub.store}/store/{digest}", **headers)
        return self.send(200, data, ETag=f'"{digest}"', X_Repo_Commit=commit)


@pytest.fixture
def hub_stub(tmp_path, monkeypatch):
    """Replaces the Hub with the stub, sets a token, and hides the user's own settings."""
    import huggingface_hub
    from huggingface_hub import constants

    with serving(HubStub()) as stub:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(constants, "ENDPOINT", stub.hub)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", stub.hub + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
        monkeypatch.setattr("time.sleep", lambda seconds: None)  # no delay between attempts
        yield stub
        huggingface_hub.close_session()


@pytest.fixture
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "letters.safetensors"
    save_model(path, tiny_saved(**FACTS))
    return path
