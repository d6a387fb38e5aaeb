"""Fixtures of the browser tests."""

import pytest

from support.playground import Stub


@pytest.fixture
def stub():
    """A stub of the playground's server."""
    server = Stub()
    yield server
    server.stop()
