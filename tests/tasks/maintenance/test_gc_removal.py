"""gc next to another gc, next to running processes, interrupted, and with paths that lead out of the store."""

import ctypes
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

import tasks.maintenance.gc
from data_contracts.parameters import SyntheticParameters
from data_contracts.store.digests import StageKey
from data_contracts.store.folders import open_stage
from data_contracts.store.locks import lock_owner, locked
from data_contracts.store.manifests import MANIFEST, read_manifest
from tasks.maintenance.gc import collect, hide
from tests.tasks.maintenance.history import files_below

CODE = "import sys, json; from pathlib import Path; from tasks.maintenance.gc import collect\n"
CODE += "print(json.dumps(collect(Path(sys.argv[1]), 1, dry_run=len(sys.argv) > 2)))"
WORKER = "import sys, time; from pathlib import Path; from data_contracts.store.locks import locked\n"
WORKER += "with locked(Path(sys.argv[1]), 'x'): print('held', flush=True); time.sleep(600)"
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2


class Killed(BaseException):
    """Simulates a kill: no code catches it."""


def start_gc(store: Path, *arguments: str, **options) -> subprocess.Popen:
    """Start a gc that keeps the last pipeline run; an argument makes it a dry run."""
    options |= {"env": {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}}
    command = [sys.executable, "-c", CODE, str(store), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def partial(store: Path, kind: str, digest: str) -> Path:
    """Create the partial folder and the lock file of a stage that was killed."""
    folder = store / kind / f".{digest}.partial"
    folder.mkdir(parents=True)
    (folder / "last.safetensors").write_text("half")
    (folder.parent / f".{digest}.lock").touch()
    return folder


def test_of_two_gcs_at_once_one_removes_and_both_succeed(history):
    runs = [history.pipeline() for _ in range(4)]
    both = [start_gc(history.store) for _ in range(2)]
    outputs = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    removed = [json.loads(out.splitlines()[-1])["removed"] for out, _ in outputs]
    assert sorted(one.get("runs", {"count": 0})["count"] for one in removed) == [0, 6]
    assert [history.whole(run) for run in runs] == [False, False, False, True]


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (tasks.maintenance.gc, "hide", 2),
        (MlflowClient, "delete_logged_model", 2),
        (MlflowClient, "delete_run", 2),
        (shutil, "rmtree", 1),
        (shutil, "rmtree", 20),
        (shutil, "rmtree", 11),
        (tasks.maintenance.gc, "_delete_rows", 1),
    ],
)
def test_a_killed_gc_leaves_whole_or_hidden_things_and_the_next_gc_completes_it(
    history, monkeypatch, owner, name, call
):
    runs = [history.pipeline() for _ in range(4)]
    calls, work = [], getattr(owner, name)

    def killed_once(*arguments, **named):
        calls.append(name)
        if len(calls) == call:
            raise Killed
        return work(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed_once)
        with pytest.raises(Killed):
            collect(history.store, 1, dry_run=False)
    for folder in history.store.glob("*/[!.]*"):
        if folder.parent.name in ("runs", "reports", "windows", "clips", "baselines"):
            manifest = read_manifest(folder)
            assert set(manifest["files"]) == {path.name for path in folder.iterdir()} - {MANIFEST}
    for model in history.client.search_logged_models([history.experiment]):
        assert str(model.status) != "READY" or (history.artifacts(model.model_id) / "model.safetensors").is_file()
    collect(history.store, 1, dry_run=False)
    assert [history.whole(run) for run in runs] == [False, False, False, True]
    assert not list(history.store.glob("*/.*.removed"))
    assert history.model_ids() == {runs[3].model}
    assert history.left_of(runs[:3]) == []
    assert collect(history.store, 1, dry_run=False)["items"] == []


def test_a_process_that_is_killed_while_it_deletes_leaves_hidden_folders_that_the_next_gc_deletes(history):
    runs = [history.pipeline() for _ in range(3)]
    for number in range(3000):  # the deletion takes long enough to be killed
        (runs[0].folders["pretrain"] / f"{number}").touch()
    process = start_gc(history.store)
    deadline = time.monotonic() + 300
    while not list(history.store.glob("*/.*.removed")) and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert list(history.store.glob("*/.*.removed"))
    for folder in history.store.glob("runs/[!.]*"):
        assert {*read_manifest(folder)["files"], MANIFEST} <= {path.name for path in folder.iterdir()}
    collect(history.store, 1, dry_run=False)
    assert not list(history.store.glob("*/.*.removed"))
    assert [history.whole(run) for run in runs] == [False, False, True]


def test_a_run_and_an_experiment_that_a_person_deleted_in_mlflow_can_be_restored(history):
    old, *_ = [history.pipeline() for _ in range(3)]
    pretrained = old.runs["pretrain"]
    history.client.delete_run(pretrained)
    other = history.client.create_experiment("other", (history.store / "other").as_uri())
    run_id = history.client.create_run(other).info.run_id
    history.client.log_text(run_id, "text", "file.txt")
    for experiment_is_deleted in (False, True):
        if experiment_is_deleted:
            history.pipeline()
            history.client.delete_experiment(other)
        assert collect(history.store, 1, dry_run=False)["removed"]["MLflow runs"]["count"] > 0
    assert history.client.get_run(pretrained).info.lifecycle_stage == "deleted"
    history.client.restore_run(pretrained)
    history.client.restore_experiment(other)
    assert history.client.list_artifacts(pretrained)
    assert history.client.list_artifacts(run_id)


def test_the_partial_folder_of_a_training_is_kept_unless_it_is_old_or_not_wanted(history):
    [history.pipeline() for _ in range(3)]
    for digest, day in (("a" * 16, 0.5), ("b" * 16, 2.5)):
        history.run("pretrain", digest, {}, day, "FAILED")
    old, young = partial(history.store, "runs", "a" * 16), partial(history.store, "runs", "b" * 16)
    no_training = partial(history.store, "windows", "c" * 16)
    collect(history.store, 1, dry_run=False)
    assert [folder.exists() for folder in (old, young, no_training)] == [False, True, False]
    collect(history.store, 1, every_partial=True, dry_run=False)
    assert not young.exists()


def test_the_inputs_of_a_partial_training_are_kept(history):
    old = history.pipeline(windows_seed=9)
    [history.pipeline() for _ in range(2)]
    history.run("pretrain", "b" * 16, {"windows": old.digests["convert"]}, 2.5, "FAILED")
    partial(history.store, "runs", "b" * 16)
    collect(history.store, 1, dry_run=False)
    assert old.folders["convert"].is_dir()
    assert not old.folders["pretrain"].exists()


def test_the_lock_of_a_dead_process_is_removed_and_that_of_a_living_one_is_kept(history):
    [history.pipeline() for _ in range(2)]
    living, dead = (history.store / "runs" / f".{digit * 16}.lock" for digit in "ab")
    processes = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(lock)], stdout=subprocess.PIPE, text=True)
        for lock in (living, dead)
    ]
    for process in processes:
        assert process.stdout.readline() == "held\n"
    partials = [partial(history.store, "runs", digit * 16) for digit in "ab"]
    processes[1].kill()
    processes[1].wait()
    outcome = collect(history.store, 1, every_partial=True, dry_run=False)
    assert [f"process {processes[0].pid} " in owner for owner in outcome["busy"]] == [True]
    assert f"process {processes[0].pid} " in lock_owner(living)
    assert not list(dead.parent.glob(f"{dead.name}*"))
    assert [folder.exists() for folder in partials] == [True, False]
    processes[0].kill()
    processes[0].wait()


def test_a_folder_whose_lock_is_held_is_not_hidden(tmp_path):
    with open_stage(tmp_path, StageKey("clips", "ingest", SyntheticParameters(), {})) as stage:
        pass
    lock = stage.folder.with_name(f".{stage.digest}.lock")
    with locked(lock, "x"):
        assert not hide(stage.folder)
        assert stage.folder.is_dir()
    assert hide(stage.folder)
    assert not stage.folder.exists()
    assert not lock.exists()
    with open_stage(tmp_path, StageKey("clips", "ingest", SyntheticParameters(), {})) as again:
        assert not again.cached


def test_gc_in_a_copy_of_a_store_removes_nothing_of_the_original(history, new_store, monkeypatch):
    [history.pipeline() for _ in range(3)]
    history.crown(history.pipelines[0])
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    before, copy = files_below(history.store), history.store.with_name("copy")
    shutil.copytree(history.store, copy)
    process = start_gc(copy)  # a process uses one store
    out, err = process.communicate(timeout=300)
    assert files_below(history.store) == before
    assert process.returncode == 0, err
    outcome = json.loads(out.splitlines()[-1])
    assert outcome["removed"]["runs"]["count"] == 2
    assert outcome["skipped"] == []
    left = [str(path) for path in copy.rglob("*")]
    assert not [path for path in left if history.pipelines[1].run in path or history.pipelines[1].model in path]


def test_gc_in_a_copy_of_a_store_with_absolute_artifact_uris_removes_nothing_of_the_original(history):
    old = f"file://{history.store}/mlartifacts"  # as an earlier version wrote them
    runs = [history.pipeline() for _ in range(2)]
    database, copy = history.store / "mlflow.db", history.store.with_name("copy")
    with closing(sqlite3.connect(database)) as connection, connection:
        for table, column in (("runs", "artifact_uri"), ("logged_models", "artifact_location")):
            connection.execute(f"UPDATE {table} SET {column} = replace({column}, 'uplift-store:/mlartifacts', '{old}')")
    before = files_below(history.store)
    shutil.copytree(history.store, copy)
    out, errors = start_gc(copy).communicate(timeout=300)
    assert out, errors
    assert files_below(history.store) == before
    outcome = json.loads(out.splitlines()[-1])
    assert any(runs[0].run in line and "outside" in line for line in outcome["skipped"])
    assert outcome["removed"]["runs"]["count"] == 2


@pytest.mark.parametrize("of_model", [False, True])
def test_artifacts_behind_a_symbolic_link_are_kept_and_reported_and_the_rest_is_removed(history, tmp_path, of_model):
    runs = [history.pipeline() for _ in range(3)]
    artifacts = history.artifacts(runs[0].model if of_model else runs[0].run)
    outside = tmp_path / "outside"
    artifacts.rename(outside)
    artifacts.symlink_to(outside)
    before = files_below(outside)
    outcome = collect(history.store, 1, dry_run=False)
    assert files_below(outside) == before
    assert [str(artifacts) in line for line in outcome["skipped"]] == [True]
    assert history.whole(runs[2])
    assert not runs[1].folders["finetune"].exists()
    assert runs[1].run not in history.run_ids()
    assert collect(history.store, 1, dry_run=False)["skipped"] == outcome["skipped"]


def test_stage_folders_behind_a_symbolic_link_are_kept_and_reported(history, tmp_path):
    runs = [history.pipeline() for _ in range(3)]
    outside = tmp_path / "outside"
    (history.store / "runs").rename(outside)
    (history.store / "runs").symlink_to(outside)
    before = files_below(outside)
    outcome = collect(history.store, 1, dry_run=False)
    assert files_below(outside) == before
    assert len(outcome["skipped"]) == 4
    assert not runs[0].folders["evaluate"].exists()


def test_a_dry_run_works_on_a_read_only_store(history):
    [history.pipeline() for _ in range(2)]
    libc = ctypes.CDLL(None)

    def obey_permissions():  # also as root
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)

    folders = [path for path in (history.store, *history.store.rglob("*")) if path.is_dir()]
    for path in (*folders, history.store / "mlflow.db"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        dry = start_gc(history.store, "dry", preexec_fn=obey_permissions)
        out, err = dry.communicate(timeout=300)
        wet = start_gc(history.store, preexec_fn=obey_permissions)
        refused = wet.communicate(timeout=300)[1]
    finally:
        for path in (*folders, history.store / "mlflow.db"):
            path.chmod(0o755)
    assert dry.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["removed"]["runs"]["count"] == 2
    assert "InputError" in refused.splitlines()[-1]
