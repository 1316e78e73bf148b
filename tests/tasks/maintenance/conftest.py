import shutil
from pathlib import Path

import pytest

from tests.tasks.maintenance.history import History, PipelineRun


@pytest.fixture
def history(empty_store: Path) -> History:
    """History of an empty store."""
    return History(empty_store)


@pytest.fixture(scope="session")
def _three(mlflow_database: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[PipelineRun]]:
    """Make a store with three pipeline runs, of which the second has windows of its own."""
    store = tmp_path_factory.mktemp("history") / "store"
    store.mkdir()
    shutil.copy(mlflow_database, store)
    history = History(store)
    for windows_seed in (0, 1, 0):
        history.pipeline(windows_seed=windows_seed)
    moved = store.rename(store.with_name("moved"))  # its copies are this store, because its path no longer exists
    return moved, [run.moved(store, moved) for run in history.pipelines]


@pytest.fixture
def three(_three: tuple[Path, list[PipelineRun]], tmp_path: Path) -> History:
    """History of a copy of a store with three pipeline runs, of which the second has windows of its own."""
    moved, pipelines = _three
    store = tmp_path / "store"
    shutil.copytree(moved, store)
    history = History(store)
    history.pipelines = [run.moved(moved, store) for run in pipelines]
    return history
