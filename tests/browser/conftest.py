"""What tests in a browser share."""

import pytest

from support.playground import Stub


@pytest.fixture
def stub():
    """The stub of the playground's server."""
    server = Stub()
    yield server
    server.close()
