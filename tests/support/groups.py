"""Groups for pytest-xdist (--dist loadgroup). The tests of one group run in one worker, never at the same time.

Browser tests are one group. Tests that measure time or use a port (marker ``alone``) are another. All other tests are
grouped by file, so that module fixtures are set up once.
"""

import pytest


def group_of(item):
    """Return the name of a test's group."""
    if item.get_closest_marker("alone"):
        return "alone"
    if "browser" in item.fixturenames:
        return "browser"
    return item.path.stem.removeprefix("test_")


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(config, items):
    """Assign every test to its group if tests are distributed."""
    if config.getoption("dist", "no") == "loadgroup":
        for item in items:
            if item.get_closest_marker("xdist_group") is None:
                item.add_marker(pytest.mark.xdist_group(group_of(item)))
