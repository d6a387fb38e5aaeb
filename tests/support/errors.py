"""Assertions on errors by their code and data: the wording of messages may change."""

from contextlib import contextmanager

import pytest

from charloom.errors import CharloomError


@contextmanager
def raises_code(code, kind=CharloomError, **data):
    """Expect an error of a kind with this code, whose data contains ``data``; yields pytest's ``ExceptionInfo``."""
    with pytest.raises(kind) as caught:
        yield caught
    check_error(caught.value.to_dict(), code, **data)


def check_error(error, code, **data):
    """Check the code of an error, given as ``to_dict()`` or as a command's ``result.error``, and part of its data."""
    assert error["code"] == code, error
    assert {name: error.get(name) for name in data} == data


def cli_error(result, code, exit_code=2, **data):
    """Check that a command that ran with ``--json`` failed with this code and data, and without a traceback."""
    assert result.code == exit_code and "Traceback" not in result.err, result
    check_error(result.error, code, **data)


def codes(notices):
    """The codes of notices, in their order."""
    return [notice.code for notice in notices]
