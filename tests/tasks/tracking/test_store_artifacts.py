"""Artifacts of a store: their URIs have no absolute path, follow the store, and never lead out of it."""

import os
import resource
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from data_contracts.errors import InputError
from tasks.tracking.names import EXPERIMENT
from tasks.tracking.runs import connect
from tasks.tracking.store_artifacts import LOCATION, delete_artifacts, follow, local_folder


def new_run(store: Path) -> str:
    """Create a run of the store with one artifact, `notes.txt`."""
    client = connect(store)
    run = client.create_run(client.get_experiment_by_name(EXPERIMENT).experiment_id).info.run_id
    client.log_text(run, "text", "notes.txt")
    return run


def test_a_copy_reads_and_writes_its_own_files_also_in_one_process(empty_store, tmp_path):
    run = new_run(empty_store)
    assert connect(empty_store).get_run(run).info.artifact_uri == f"{LOCATION}/{run}/artifacts"
    other = shutil.copytree(empty_store, tmp_path / "copy")
    client = connect(other)
    (other / "mlartifacts" / run / "artifacts" / "notes.txt").write_text("changed")
    client.log_text(run, "text", "more.txt")
    assert [file.path for file in client.list_artifacts(run)] == ["more.txt", "notes.txt"]
    assert Path(client.download_artifacts(run, "notes.txt")).read_text() == "changed"
    assert [file.path for file in connect(empty_store).list_artifacts(run)] == ["notes.txt"]


def test_artifacts_of_a_store_with_a_question_mark_in_its_path_are_below_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    new_run(tmp_path / "a?b")
    assert [path.name for path in tmp_path.iterdir()] == ["a?b"]
    assert len(list(tmp_path.glob("a?b/mlartifacts/*/artifacts/notes.txt"))) == 1


@pytest.mark.parametrize("path", ["/mlartifacts/../x", "/mlartifacts/a/../../x", "/runs/x", "//host/mlartifacts/x", ""])
def test_a_uri_that_leads_out_is_refused(path, empty_store):
    connect(empty_store)
    with pytest.raises(MlflowException, match="expected uplift-store:/mlartifacts"):
        get_artifact_repository(f"uplift-store:{path}")


def test_a_database_on_a_server_has_no_local_folder(empty_store):
    uri = f"{LOCATION}/{new_run(empty_store)}/artifacts"
    local = get_artifact_repository(uri)
    follow("postgresql:///mlflow")
    with pytest.raises(MlflowException, match="artifacts of a local store"):
        local.list_artifacts()
    with pytest.raises(MlflowException, match="must be a SQLite file or an MLflow server, not postgresql"):
        get_artifact_repository(uri, tracking_uri="postgresql:///mlflow")
    connect(empty_store)
    assert [file.path for file in local.list_artifacts()] == ["notes.txt"]


def test_a_symbolic_link_is_removed_and_not_followed(empty_store, tmp_path):
    run, client = new_run(empty_store), connect(empty_store)
    folder, outside = empty_store / "mlartifacts" / run / "artifacts", tmp_path / "outside"
    shutil.move(folder, outside)
    folder.symlink_to(outside)
    with pytest.raises(InputError, match="is outside the store"):
        client.log_text(run, "text", "more.txt")
    delete_artifacts(client, client.get_run(run).info.artifact_uri)
    assert not folder.is_symlink()
    assert not folder.parent.exists()
    assert (outside / "notes.txt").is_file()


def test_artifacts_in_a_folder_that_is_linked_into_a_store_are_not_deleted(empty_store, tmp_path):
    run, client = new_run(empty_store), connect(empty_store)
    shutil.move(empty_store / "mlartifacts", tmp_path / "big-disk")
    (empty_store / "mlartifacts").symlink_to(tmp_path / "big-disk")
    with pytest.raises(InputError, match="is outside the store"):
        delete_artifacts(client, client.get_run(run).info.artifact_uri)
    assert len(list((tmp_path / "big-disk").rglob("notes.txt"))) == 1


def test_an_absolute_uri_of_an_earlier_version_is_deleted_only_below_the_store(empty_store, tmp_path):
    client = connect(empty_store)
    inside, outside = empty_store / "mlartifacts" / "1" / "artifacts", tmp_path / "other" / "mlartifacts" / "artifacts"
    for folder in (inside, outside):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_text("weights")
    for uri in (outside.as_uri(), str(outside), f"{inside.as_uri()}/../../../../other/mlartifacts/artifacts"):
        with pytest.raises(InputError, match="the store"):
            delete_artifacts(client, uri)
    assert (outside / "model.safetensors").is_file()
    delete_artifacts(client, inside.as_uri())
    assert not inside.parent.exists()


def test_a_copied_store_of_an_earlier_version_is_refused_and_the_original_is_not(empty_store, tmp_path):
    connect(empty_store)
    with closing(sqlite3.connect(empty_store / "mlflow.db")) as database, database:  # as that version wrote it
        location = (empty_store / "mlartifacts").as_uri()
        database.execute("UPDATE experiments SET artifact_location = ? WHERE name = ?", (location, EXPERIMENT))
    run = new_run(empty_store)
    assert (empty_store / "mlartifacts" / run / "artifacts" / "notes.txt").is_file()
    other = shutil.copytree(empty_store, tmp_path / "copy")
    with pytest.raises(InputError, match=r"an earlier version wrote this database and its artifacts at .*/store"):
        connect(other)
    assert connect(empty_store).get_run(run).info.artifact_uri.startswith("file:///")


def test_files_that_do_not_fit_on_the_disk_are_reported_in_one_line(empty_store, tmp_path):
    run, client = new_run(empty_store), connect(empty_store)
    (tmp_path / "folder").mkdir()
    file = tmp_path / "folder" / "weights"
    file.write_bytes(os.urandom(200_000))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # the kernel refuses to write more
    try:
        for log in (client.log_artifact, client.log_artifacts):
            with pytest.raises(InputError, match=r"mlartifacts.*: artifacts cannot be written \(.*[Ff]ile too large"):
                log(run, str(file if log == client.log_artifact else file.parent))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0", b"text" * 2000])
def test_a_damaged_database_is_refused_in_one_line(content, empty_store):
    connect(empty_store)
    (empty_store / "mlflow.db").unlink()
    (empty_store / "mlflow.db").write_bytes(content)
    with pytest.raises(InputError, match=r"mlflow\.db: the database .*restore it from a backup"):
        connect(empty_store)


def test_the_local_folder_of_a_uri_is_known_only_without_a_server(empty_store):
    client = connect(empty_store)
    folder = empty_store / "mlartifacts" / "run" / "artifacts"
    assert local_folder(f"{LOCATION}/run/artifacts", client.tracking_uri) == folder
    assert local_folder(f"{LOCATION}/run/artifacts", "http://127.0.0.1:5000") is None
    assert local_folder(folder.as_uri()) == folder
    assert local_folder("s3://bucket/run") is None
