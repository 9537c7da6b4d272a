"""What holds for every system test: the folder of one that passed goes with it, for most hold a store of 128 MiB."""
import shutil

import pytest

from torture import Torture

FAILED = pytest.StashKey()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    if outcome.get_result().failed:
        item.stash[FAILED] = True


@pytest.fixture
def tmp_path(tmp_path, request):
    """pytest's own, kept where the test failed. Torn down after every fixture that uses it."""
    yield tmp_path
    if not request.node.stash.get(FAILED, False):
        shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture
def torture(request):
    return Torture(request.node.name.partition("[")[0])
