"""The id of a store: a moved store keeps it, a copied store gets a new one, and a doubtful case counts as a copy."""

import shutil
import tempfile
from pathlib import Path

import pytest
from mlflow import MlflowClient

from data_contracts.errors import InputError
from tasks.tracking.names import EXPERIMENT, ID_FILE, STORE_TAG, store_id
from tasks.tracking.runs import connect
from tasks.tracking.store_identity import forget_former_ids, former_ids, name_store


@pytest.fixture
def store(tmp_path) -> Path:
    folder = tmp_path / "disk" / "store"
    folder.mkdir(parents=True)
    name_store(folder)
    return folder


def copy(store: Path, to: Path) -> Path:
    """Copy a store like `cp -a`: times are kept, inodes are new."""
    return shutil.copytree(store, to, copy_function=shutil.copy2)


def named(store: Path) -> str:
    name_store(store)
    return store_id(store)


def test_a_store_keeps_its_id_where_it_is_and_where_it_is_moved_to(store, tmp_path):
    name = store_id(store)
    assert named(store) == name
    moved = store.rename(tmp_path / "moved")
    assert named(moved) == name
    assert named(moved.rename(store)) == name
    assert former_ids(store) == ()


def test_a_copy_gets_a_new_id_and_the_original_keeps_its_own(store, tmp_path):
    name = store_id(store)
    other = copy(store, tmp_path / "copy")
    assert named(other) != name
    assert former_ids(other) == (name,)
    assert named(store) == name
    third = copy(other, tmp_path / "third")
    assert named(third) not in (name, named(other))
    assert former_ids(third) == (name, store_id(other))
    forget_former_ids(third)
    assert former_ids(third) == ()


def test_a_store_moved_to_another_file_system_keeps_its_id(store):
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == store.stat().st_dev:
        pytest.skip("there is no second file system")
    name = store_id(store)
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        moved = Path(shutil.move(store, folder))
        assert named(moved) == name
        assert named(copy(moved, store)) != name


@pytest.mark.parametrize("doubt", ["unmounted", "replaced", "emptied"])
def test_a_copy_whose_original_cannot_be_read_gets_a_new_id(store, tmp_path, doubt):
    name = store_id(store)
    other = copy(store, tmp_path / "copy")
    if doubt == "unmounted":
        store.parent.rename(tmp_path / "elsewhere")
    elif doubt == "replaced":
        store.rename(tmp_path / "elsewhere")
        store.mkdir()
        name_store(store)
    else:
        (store / ID_FILE).unlink()
    assert named(other) != name


def test_a_store_that_was_moved_within_its_disk_keeps_its_id_though_its_old_folder_is_gone(store, tmp_path):
    name = store_id(store)
    disk = store.parent.rename(tmp_path / "mounted-elsewhere")
    assert named(disk / "store") == name


def test_a_store_with_a_second_path_is_one_store(store, tmp_path):
    name, written = store_id(store), (store / ID_FILE).read_text()
    link = tmp_path / "link"
    link.symlink_to(store)
    assert named(link) == name
    assert (store / ID_FILE).read_text() == written


def test_a_store_restored_from_a_backup_in_its_place_keeps_its_id(store, tmp_path):
    name = store_id(store)
    copy(store, tmp_path / "backup")
    shutil.rmtree(store)
    assert named(copy(tmp_path / "backup", store)) == name
    assert named(copy(store, tmp_path / "copy")) != name


def test_the_id_of_an_earlier_version_is_kept_and_a_damaged_file_is_refused(store):
    file = store / ID_FILE
    file.write_text("0123456789abcdef")
    assert named(store) == "0123456789abcdef"
    assert len(file.read_text().splitlines()) == 2
    file.write_text("0123456789abcdef\n{")
    with pytest.raises(InputError, match="is damaged"):
        name_store(store)
    file.write_text("")
    with pytest.raises(InputError, match="is empty"):
        name_store(store)


def test_a_copy_tags_the_runs_in_its_own_database_again_even_after_a_kill(empty_store, tmp_path):
    client = connect(empty_store)
    experiment, name = client.get_experiment_by_name(EXPERIMENT).experiment_id, store_id(empty_store)
    runs = [client.create_run(experiment, tags={STORE_TAG: name}).info.run_id for _ in range(3)]
    foreign = client.create_run(experiment, tags={STORE_TAG: "another store's"}).info.run_id
    other = copy(empty_store, tmp_path / "copy")
    name_store(other)  # then the process tagged one run and was killed
    database = MlflowClient(tracking_uri=f"sqlite:///{other / 'mlflow.db'}")
    database.set_tag(runs[0], STORE_TAG, store_id(other))
    assert former_ids(other) == (name,)
    client = connect(other)
    assert former_ids(other) == ()
    tags = {run: client.get_run(run).data.tags[STORE_TAG] for run in [*runs, foreign]}
    assert tags == dict.fromkeys(runs, store_id(other)) | {foreign: "another store's"}
    client = connect(empty_store)
    assert {client.get_run(run).data.tags[STORE_TAG] for run in runs} == {name}


def test_runs_of_a_shared_database_are_not_tagged_by_a_copy(empty_store, new_store, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{new_store('shared') / 'mlflow.db'}")
    client = connect(empty_store)
    experiment, name = client.get_experiment_by_name(EXPERIMENT).experiment_id, store_id(empty_store)
    run = client.create_run(experiment, tags={STORE_TAG: name}).info.run_id
    other = copy(empty_store, tmp_path / "copy")
    assert connect(other).get_run(run).data.tags[STORE_TAG] == name
    assert store_id(other) != name
    assert former_ids(other) == (name,)
