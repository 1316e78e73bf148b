"""gc next to another gc, interrupted, and with paths that lead out of the store."""

import ctypes
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.cli import cli as mlflow
from mlflow.entities import ViewType

import tasks.maintenance.gc
from data_contracts.parameters import SyntheticParameters
from data_contracts.store.digests import StageKey
from data_contracts.store.folders import open_stage
from data_contracts.store.locks import locked
from data_contracts.store.manifests import MANIFEST, read_manifest
from tasks.maintenance.gc import collect, hide
from tests.tasks.maintenance.history import files_below

CODE = "import sys, json; from pathlib import Path; from tasks.maintenance.gc import collect\n"
CODE += "for dry_run in map(json.loads, sys.argv[2:]):\n"
CODE += "    print(json.dumps(collect(Path(sys.argv[1]), 1, dry_run)), flush=True)"
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2


class Killed(BaseException):
    """Simulates a kill: no code catches it."""


def start_gc(store: Path, *dry_runs: str, **options) -> subprocess.Popen:
    """Start a process that runs gc, which keeps the last pipeline run, for each of `dry_runs`: `true` or `false`."""
    options |= {"env": {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}}
    command = [sys.executable, "-c", CODE, str(store), *dry_runs]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_of_two_gcs_at_once_one_removes_and_both_succeed(three):
    both = [start_gc(three.store, "false") for _ in range(2)]
    outputs = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    removed = [json.loads(out.splitlines()[-1])["items"] for out, _ in outputs]
    assert sorted(bool(items) for items in removed) == [False, True]
    assert [three.whole(run) for run in three.pipelines] == [False, False, True]


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (tasks.maintenance.gc, "hide", 2),
        (shutil, "rmtree", 1),
        (shutil, "rmtree", 12),
        (MlflowClient, "delete_logged_model", 2),
        (MlflowClient, "delete_run", 2),
    ],
)
def test_a_killed_gc_leaves_whole_or_hidden_things_and_the_next_gc_completes_it(three, monkeypatch, owner, name, call):
    calls, work = [], getattr(owner, name)

    def killed_once(*arguments, **named):
        calls.append(name)
        if len(calls) == call:
            raise Killed
        return work(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed_once)
        with pytest.raises(Killed):
            collect(three.store, 1, dry_run=False)
    for folder in three.store.glob("*/[!.]*"):
        if folder.parent.name in ("runs", "reports", "windows", "clips", "baselines"):
            manifest = read_manifest(folder)
            assert set(manifest["files"]) == {path.name for path in folder.iterdir()} - {MANIFEST}
    collect(three.store, 1, dry_run=False)
    _, second, third = three.pipelines
    assert three.whole(third)
    assert not list(three.store.glob("*/.*.removed"))
    assert three.model_ids() == {third.model}
    assert three.left_of(second) == []
    assert collect(three.store, 1, dry_run=False)["items"] == []


def test_gc_leaves_to_a_person_what_a_person_deleted_in_mlflow(three):
    pretrained, third = three.pipelines[0].runs["pretrain"], three.pipelines[2]
    three.client.delete_run(pretrained)
    assert collect(three.store, 1, dry_run=False)["items"]
    three.client.restore_run(pretrained)
    assert three.client.list_artifacts(pretrained)

    uri = three.client.tracking_uri  # the documented command deletes the rows of what gc removed, and nothing else
    outcome = CliRunner().invoke(mlflow, ["gc", "--backend-store-uri", uri, "--tracking-uri", uri])
    assert outcome.exit_code == 0, outcome.output
    deleted = three.client.search_runs([three.experiment], run_view_type=ViewType.DELETED_ONLY)
    assert list(deleted) == []
    assert three.whole(third)


def test_a_folder_whose_lock_is_held_is_not_hidden(tmp_path):
    with open_stage(tmp_path, StageKey("clips", "ingest", SyntheticParameters(), {})) as stage:
        pass
    lock = stage.folder.with_name(f".{stage.digest}.lock")
    with locked(lock, "x"):
        assert not hide(stage.folder)
        assert stage.folder.is_dir()
    assert hide(stage.folder)
    assert not stage.folder.exists()
    assert not list(lock.parent.glob(f"{lock.name}*"))
    with open_stage(tmp_path, StageKey("clips", "ingest", SyntheticParameters(), {})) as again:
        assert not again.cached


def test_gc_in_a_copy_of_a_store_removes_nothing_of_the_original(three):
    before, copy = files_below(three.store), three.store.with_name("copy")
    three.crown(three.pipelines[0])
    shutil.copytree(three.store, copy)
    out, errors = start_gc(copy, "false").communicate(timeout=300)  # a process uses one store
    assert files_below(three.store) == before
    outcome = json.loads(out.splitlines()[-1])
    assert outcome["notes"] == [], errors
    second = three.pipelines[1]
    assert f"MLflow versions pose-uplift/{second.version}" in [
        f"{one['kind']} {one['name']}" for one in outcome["items"]
    ]
    assert not [path for path in copy.rglob("*") if second.run in str(path) or second.model in str(path)]


def test_gc_in_a_copy_of_a_store_with_absolute_artifact_uris_removes_nothing_of_the_original(three):
    old = f"file://{three.store}/mlartifacts"  # as an earlier version wrote them
    database, copy = three.store / "mlflow.db", three.store.with_name("copy")
    with closing(sqlite3.connect(database)) as connection, connection:
        for table, column in (("runs", "artifact_uri"), ("logged_models", "artifact_location")):
            connection.execute(f"UPDATE {table} SET {column} = replace({column}, 'uplift-store:/mlartifacts', '{old}')")
    before = files_below(three.store)
    shutil.copytree(three.store, copy)
    out, errors = start_gc(copy, "false").communicate(timeout=300)
    assert out, errors
    assert files_below(three.store) == before
    outcome = json.loads(out.splitlines()[-1])
    for run in (three.pipelines[1].run, three.pipelines[1].runs["finetune"]):  # the second one has a LoggedModel
        assert any(run in note and "outside" in note for note in outcome["notes"])
    assert not (copy / three.pipelines[1].folders["finetune"].relative_to(three.store)).exists()


def test_files_behind_a_symbolic_link_are_kept(three, tmp_path):
    first, second, third = three.pipelines
    links = three.artifacts(first.model), three.artifacts(second.run), three.store / "runs"
    outside = []
    for number, path in enumerate(links):
        outside.append(path.rename(tmp_path / f"outside {number}"))
        path.symlink_to(outside[-1])
    before = [files_below(folder) for folder in outside]
    outcome = collect(three.store, 1, dry_run=False)
    assert [files_below(folder) for folder in outside] == before
    assert len(outcome["notes"]) == 4  # the trainings of the first two runs
    assert all("runs/" in note and "symbolic link" in note for note in outcome["notes"])
    assert three.whole(third)
    assert not first.folders["evaluate"].exists()
    assert three.model_ids() == {third.model}


def test_a_dry_run_works_on_a_read_only_store(three):
    libc = ctypes.CDLL(None)

    def obey_permissions():  # also as root
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)

    folders = [path for path in (three.store, *three.store.rglob("*")) if path.is_dir()]
    for path in (*folders, three.store / "mlflow.db"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        out, errors = start_gc(three.store, "true", "false", preexec_fn=obey_permissions).communicate(timeout=300)
    finally:
        for path in (*folders, three.store / "mlflow.db"):
            path.chmod(0o755)
    (dry,) = map(json.loads, filter(lambda line: line.startswith("{"), out.splitlines()))
    assert dry["dry_run"], errors
    assert len(dry["items"]) == 19
    assert "InputError" in errors.splitlines()[-1]
    assert "cannot be written" in errors.splitlines()[-1]
