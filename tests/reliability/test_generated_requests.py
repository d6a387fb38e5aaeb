"""Send valid and invalid requests that schemathesis generates from the server's OpenAPI document."""

import contextlib
import json
from collections import Counter
from urllib.parse import quote, urlencode

import jsonschema
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis.errors import Unsatisfiable

from charloom.inference.model import Model
from charloom.serve.openapi import openapi_document
from charloom.serve.security.limits import Limits
from support.models import bytes_model, tiny_saved
from support.promises import counts
from support.server import serve_models

schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis")

OPENAPI = openapi_document("0", False)
WEIGHTS = {"/v1/completions": 8}  # relative number of requests; 1 for other paths


@pytest.fixture(scope="module")
def server():
    limits = Limits(max_characters=2000)
    with serve_models({"bytes": bytes_model(), "tiny": Model(tiny_saved())}, limits=limits) as running:
        yield running


def operations():
    schema = schemathesis.openapi.from_dict(OPENAPI)
    return [result.ok() for result in schema.get_all_operations()]


def to_request(case):
    """Convert a generated case to (method, path, body)."""
    path = quote(case.formatted_path, safe="/%")
    query = urlencode({key: text(value) for key, value in (case.query or {}).items()}, doseq=True, errors="replace")
    body = None
    if case.method == "POST":
        is_raw = isinstance(case.body, bytes)
        body = case.body if is_raw else b"" if is_nothing(case.body) else json.dumps(case.body).encode()
    return case.method, f"{path}?{query}" if query else path, body


def text(value):
    return value if isinstance(value, str | list) else json.dumps(value)


def is_nothing(body):
    return type(body).__name__ == "NotSet"


def response_validators():
    """Return a JSON schema validator for the response of each method and path."""
    components = {"components": OPENAPI["components"]}
    validators = {}
    for path, item in OPENAPI["paths"].items():
        for method, operation in item.items():
            schema = operation["responses"]["200"]["content"].get("application/json", {}).get("schema", {})
            validators[method.upper(), path] = jsonschema.Draft202012Validator({**schema, **components})
    return validators


@counts(500, 10_000)
def test_requests_generated_from_the_openapi_document(server, promise, count):
    validators, statuses = response_validators(), Counter()
    failure = jsonschema.Draft202012Validator(
        {"$ref": "#/components/schemas/Failure", "components": OPENAPI["components"]}
    )
    modes = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
    tried = [
        (operation, mode)
        for operation in operations()
        for mode in modes
        if mode is modes[0] or operation.method == "post"  # there are no invalid URLs
    ]
    share = -(-count // sum(WEIGHTS.get(operation.path, 1) for operation, _ in tried))

    def check(case):
        method, path, body = to_request(case)
        response = server.request(method, path, body)
        statuses[response.status] += 1
        assert response.status < 500, (method, path, str(body)[:300], response.body)
        if response.status >= 400:
            failure.validate(response.json)
        elif response.headers["Content-Type"].startswith("text/event-stream"):
            events, done = response.events
            assert done
            for event in events:
                validators[method, case.operation.path].validate(event)
        elif response.headers["Content-Type"] == "application/json":
            validators[method, case.operation.path].validate(response.json)

    for operation, mode in tried:
        strategy = operation.as_strategy(generation_mode=mode)
        run(strategy, check, share * WEIGHTS.get(operation.path, 1))
    for mode in modes:  # some operations have fewer different requests than their share
        if sum(statuses.values()) < count:
            run(operations()[0].as_strategy(generation_mode=mode), check, count - sum(statuses.values()))
    assert sum(statuses.values()) >= count
    assert statuses[200] > count / 20 and statuses[400] > count / 20
    assert server.get("/healthz").status == 200
    result = f"0 server errors; {statuses[200]:,} answered, each as described, and {statuses[400]:,} refused with 400"
    promise(8, "requests made by schemathesis", sum(statuses.values()), result)


def run(strategy, check, count):
    """Send ``count`` requests, which are the same in every run."""

    @seed(count)
    @settings(max_examples=count, database=None, suppress_health_check=list(HealthCheck), deadline=None)
    @given(strategy)
    def run_all(case):
        check(case)

    with contextlib.suppress(Unsatisfiable):
        run_all()
