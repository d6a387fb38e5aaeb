"""What tests of reliability share."""

import pytest

from charloom.data.corpus import Corpus
from support.training_runs import remains, train


@pytest.fixture(scope="module")
def corpus(text):
    return Corpus(text, "weaving")


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    """What runs leave that were never stopped, by kind; each is trained once."""
    found = {}

    def get(kind):
        if kind not in found:
            folder = tmp_path_factory.mktemp("whole") / "run"
            train(corpus, folder, kind=kind)
            found[kind] = remains(folder)
        return found[kind]

    return get
