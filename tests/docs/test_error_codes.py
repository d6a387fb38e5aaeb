"""Every message has a stable code, and the tables of codes in the reference match the source."""

import importlib.util
import pickle
import re

import pytest

from charloom.errors import CharloomError, Notice, UnknownCharacterError
from support.paths import ROOT


@pytest.fixture(scope="module")
def codes():
    spec = importlib.util.spec_from_file_location("codes", ROOT / "docs" / "codes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_message_has_a_code(codes):
    messages = list(codes.messages())
    assert len(messages) > 250
    missing = [message.place for message in messages if message.code is None and message.kind != "ApiError"]
    assert missing == []
    assert [m.code for m in messages if m.code and not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", m.code)] == []


def test_reference_lists_all_codes(codes):
    page = codes.PAGE.read_text(encoding="utf-8")
    assert page == codes.with_tables(page), "run: python docs/codes.py"


@pytest.mark.parametrize("original", [
    UnknownCharacterError("unknown", code="unknown_character", characters=[1]),
    Notice("short", code="short_run", steps=3),
])  # fmt: skip
def test_code_and_data_survive_pickling(original):
    copy = pickle.loads(pickle.dumps(original))
    assert (type(copy), str(copy), copy.code, copy.data) == (
        type(original), str(original), original.code, original.data,
    )  # fmt: skip


def test_prefixed_keeps_code_and_data():
    error = UnknownCharacterError("unknown", code="unknown_character", characters=[1]).prefixed("line 3: ")
    assert isinstance(error, CharloomError) and type(error) is UnknownCharacterError
    assert error.to_dict() == {"code": "unknown_character", "message": "line 3: unknown", "characters": [1]}
