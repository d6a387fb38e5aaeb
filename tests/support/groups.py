"""With pytest-xdist: which tests one worker runs one after another, and never beside each other (--dist loadgroup).

Tests in a browser are one group, those that measure time or take ports (the marker ``alone``) another, and every other
file is a group of its own, so that what a module sets up is set up once.
"""

import pytest


def group_of(item):
    """Return the name of a test's group."""
    if item.get_closest_marker("alone"):
        return "alone"
    if "browser" in item.fixturenames:
        return "browser"
    return item.path.stem.removeprefix("test_")


@pytest.hookimpl(tryfirst=True)  # xdist looks at the groups in the same hook
def pytest_collection_modifyitems(config, items):
    """Give every test its group, where tests are distributed at all."""
    if config.getoption("dist", "no") == "loadgroup":
        for item in items:
            if item.get_closest_marker("xdist_group") is None:
                item.add_marker(pytest.mark.xdist_group(group_of(item)))
