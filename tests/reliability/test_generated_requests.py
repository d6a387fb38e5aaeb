"""Requests that a machine makes of the server's own description, right ones and wrong ones: none may break it."""

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
from support.server import serving

schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis")

DESCRIPTION = openapi_document("0", False)
SHARES = {"/v1/completions": 8}  # how much more often than other addresses


@pytest.fixture(scope="module")
def server():
    limits = Limits(max_characters=2000)
    with serving({"bytes": bytes_model(), "tiny": Model(tiny_saved())}, limits=limits) as found:
        yield found


def operations():
    schema = schemathesis.openapi.from_dict(DESCRIPTION)
    return [result.ok() for result in schema.get_all_operations()]


def sent(case):
    """Return a case as (method, path, body)."""
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


def validators():
    """Return what judges the answer of each address."""
    defined = {"components": DESCRIPTION["components"]}
    found = {}
    for path, item in DESCRIPTION["paths"].items():
        for method, operation in item.items():
            schema = operation["responses"]["200"]["content"].get("application/json", {}).get("schema", {})
            found[method.upper(), path] = jsonschema.Draft202012Validator({**schema, **defined})
    return found


@counts(500, 10_000)
def test_cases_of_schemathesis(server, promise, count):
    judges, answers = validators(), Counter()
    failure = jsonschema.Draft202012Validator(
        {"$ref": "#/components/schemas/Failure", "components": DESCRIPTION["components"]}
    )
    modes = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
    tried = [
        (operation, mode)
        for operation in operations()
        for mode in modes
        if mode is modes[0] or operation.method == "post"  # any text is right in an address
    ]
    share = -(-count // sum(SHARES.get(operation.path, 1) for operation, _ in tried))

    def check(case):
        method, path, body = sent(case)
        answer = server.ask(method, path, body)
        answers[answer.status] += 1
        assert answer.status < 500, (method, path, str(body)[:300], answer.body)
        if answer.status >= 400:
            failure.validate(answer.json)
        elif answer.headers["Content-Type"].startswith("text/event-stream"):
            events, done = answer.events
            assert done
            for one in events:
                judges[method, case.operation.path].validate(one)
        elif answer.headers["Content-Type"] == "application/json":
            judges[method, case.operation.path].validate(answer.json)

    for operation, mode in tried:
        strategy = operation.as_strategy(generation_mode=mode)
        most = share * SHARES.get(operation.path, 1)
        run(strategy, check, most)
    for mode in modes:  # where few different requests are possible, fewer were made
        if sum(answers.values()) < count:
            run(operations()[0].as_strategy(generation_mode=mode), check, count - sum(answers.values()))
    assert sum(answers.values()) >= count
    assert answers[200] > count / 20 and answers[400] > count / 20
    assert server.get("/healthz").status == 200
    result = f"0 server errors; {answers[200]:,} answered, each as described, and {answers[400]:,} refused with 400"
    promise(8, "requests made by schemathesis", sum(answers.values()), result)


def run(strategy, check, count):
    """Make so many requests, the same ones each time."""

    @seed(count)
    @settings(max_examples=count, database=None, suppress_health_check=list(HealthCheck), deadline=None)
    @given(strategy)
    def run_all(case):
        check(case)

    with contextlib.suppress(Unsatisfiable):
        run_all()
