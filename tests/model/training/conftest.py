"""Windows and runs that tests of training share."""

import pytest

from model.data.loading import load_windows
from tests.model.training.small_runs import PARAMETERS, few, train


@pytest.fixture(scope="session")
def _runs():
    return {}


@pytest.fixture
def uninterrupted(_runs, tmp_path_factory):
    """Train without a stop, once for each set of parameters; return the network, its history and its folder."""

    def run(windows, parameters=PARAMETERS):
        key = parameters.model_dump_json()
        if key not in _runs:
            folder = tmp_path_factory.mktemp("uninterrupted")
            _runs[key] = (*train(windows, folder, parameters), folder)
        return _runs[key]

    return run


@pytest.fixture
def windows(windows):
    return few(windows)


@pytest.fixture
def placed_windows(windows_folder):
    """Train windows that can be seen anew, and val windows."""
    return few([load_windows(windows_folder, "train", placed=True), load_windows(windows_folder, "val")])
