"""The live page (`train --live`) and the TensorBoard log of a training run."""

import http.client
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

import charloom
from charloom.serve.live import LivePage
from support.errors import cli_error


def request(address, path="/", host=None, method="GET"):
    port = int(address.rsplit(":", 1)[1].strip("/"))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, path, headers={"Host": host or f"127.0.0.1:{port}"})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


@pytest.fixture
def live():
    page = LivePage()
    with page.serve():
        yield page
        page._last_request = -math.inf  # do not wait for a last request


def test_data_follows_the_training(live, text, tmp_path):
    assert json.loads(request(live.address, "/data.json")[1])["status"] == "Starting."
    snapshots = []

    def observe(record):
        live.take(record)
        if type(record).__name__ == "EvaluationRecord":
            snapshots.append(json.loads(request(live.address, "/data.json")[1]))

    sizes = {"hidden_size": 16, "num_layers": 1, "steps": 30, "eval_every": 10}
    charloom.train(charloom.Corpus(text), run=tmp_path / "run", progress=False, watch=observe, **sizes)
    assert [len(data["run"]["evaluations"]) for data in snapshots] == [1, 2, 3, 4]
    assert [e["step"] for e in snapshots[-1]["run"]["evaluations"]] == [0, 10, 20, 30]
    assert snapshots[2]["status"].startswith("Step 20 of 30")
    assert all(data["verdict"] is None for data in snapshots)  # it is about the whole run
    last = json.loads(request(live.address, "/data.json")[1])
    assert last["verdict"]["code"] == "too_few_steps" and last["verdict"]["steps"] == 30
    assert last["finished"] and last["status"] == "Done after 30 steps."
    assert len(last["run"]["samples"]) == 3


def test_security_headers(live):
    response, body = request(live.address)
    assert response.status == 200 and b"data.json" in body
    assert response.getheader("X-Content-Type-Options") == "nosniff"
    assert "frame-ancestors 'none'" in response.getheader("Content-Security-Policy")
    assert "connect-src 'self'" in body.decode()


def test_only_local_get_requests_are_accepted(live):
    port = live.address.rsplit(":", 1)[1].strip("/")
    assert live.address.startswith("http://127.0.0.1:")
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1.evil.example:{port}", "", ":"):
        assert request(live.address, "/data.json", host or " ")[0].status == 403
    assert request(live.address, "/data.json", f"localhost:{port}")[0].status == 200
    assert request(live.address, "/../etc/passwd")[0].status == 404
    for method in ("POST", "PUT", "DELETE"):
        assert request(live.address, "/", method=method)[0].status == 501


def test_train_live_prints_the_url_and_stops_with_the_training(text, tmp_path):
    (tmp_path / "t.txt").write_text(text)
    command = [sys.executable, "-m", "charloom", "train", "t.txt", "--steps", "60", "--set", "hidden_size=16", "--live"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        address = next(match[1] for line in process.stderr if (match := re.search(r"Live page: (\S+)", line)))
        assert request(address)[0].status == 200
        process.stderr.read()
    assert process.returncode == 0
    with pytest.raises(OSError):
        request(address)


def test_tensorboard_events(cli, text):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    Path("t.txt").write_text(text)
    assert cli("train", "t.txt", "-o", "run", "--steps", 30, "--set", "hidden_size=16", "--tensorboard").code == 0
    events = EventAccumulator("run/tensorboard").Reload()
    assert [e.step for e in events.Scalars("loss/step")] == list(range(1, 31))
    metrics = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    logged = {e.step: e.value for e in events.Scalars("loss/held out")}
    assert logged == pytest.approx({m["step"]: m["val_loss"] for m in metrics}, rel=1e-5)
    assert cli("train", "--resume", "run", "--steps", 10, "--tensorboard").code == 0
    events = EventAccumulator("run/tensorboard").Reload()
    assert [e.step for e in events.Scalars("loss/step")] == list(range(1, 41))


def test_plan_cannot_be_combined_with_live_or_tensorboard(cli):
    Path("t.txt").write_text("some text\n" * 200)
    for option in ("--live", "--tensorboard"):
        cli_error(cli("train", "t.txt", "--plan", option, "--json"), "conflicting_options", options=[option, "--plan"])
