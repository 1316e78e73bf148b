"""Removal in company: of another removal, of who is at work, of a kill in the middle."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tasks.cleaning.gc
import tasks.mlflow_runs.removal
from data_contracts.store import removal
from data_contracts.store.digests import Identity
from data_contracts.store.folders import open_stage
from data_contracts.store.locks import hold, holder
from data_contracts.store.manifests import MANIFEST, read_manifest
from tasks.cleaning.gc import collect
from tasks.mlflow_runs.store_artifacts import local_folder
from tests.tasks.cleaning.history import FIRST_DAY

CODE = "import sys, json; from pathlib import Path; from tasks.cleaning.gc import collect\n"
CODE += "print(json.dumps(collect(Path(sys.argv[1]), int(sys.argv[2]))['removed']))"
WORKER = "import sys, time; from pathlib import Path; from data_contracts.store.locks import hold\n"
WORKER += "with hold(Path(sys.argv[1]), 'x'): print('held', flush=True); time.sleep(600)"


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


def removing(store: Path, keep_last: int) -> subprocess.Popen:
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    command = [sys.executable, "-c", CODE, str(store), str(keep_last)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def partial(store: Path, kind: str, digest: str, day: float) -> Path:
    """What a stage left that was killed on that day."""
    folder = store / kind / f".{digest}.partial"
    folder.mkdir(parents=True)
    (folder / "last.safetensors").write_text("half")
    for path in (folder / "last.safetensors", folder):
        os.utime(path, (FIRST_DAY.timestamp() + day * 86_400,) * 2)
    (folder.parent / f".{digest}.lock").touch()
    return folder


def test_two_removals_at_once_remove_once_and_both_end_well(history):
    nights = [history.night() for _ in range(4)]
    both = [removing(history.store, 1) for _ in range(2)]
    said = [process.communicate(timeout=180) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    counts = sorted(json.loads(out.splitlines()[-1]).get("runs", {"count": 0})["count"] for out, _ in said)
    assert counts == [0, 6]
    assert [history.whole(night) for night in nights] == [False, False, False, True]


@pytest.mark.parametrize(
    ("module", "name", "call"),
    [
        (tasks.cleaning.gc, "hide", 2),
        (tasks.cleaning.gc, "delete", 1),
        (tasks.cleaning.gc, "delete_model", 2),
        (tasks.mlflow_runs.removal, "delete_files", 1),
        (tasks.mlflow_runs.removal, "delete_files", 4),
        (tasks.cleaning.gc, "delete_run", 1),
    ],
)
def test_a_removal_killed_in_the_middle_leaves_whole_things_or_hidden_ones_and_the_next_ends_it(
    history, monkeypatch, module, name, call
):
    nights = [history.night() for _ in range(4)]
    calls, work = [], getattr(module, name)

    def killed_once(*arguments):
        calls.append(name)
        if len(calls) == call:
            raise Killed
        return work(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, killed_once)
        with pytest.raises(Killed):
            collect(history.store, 1)
    for folder in history.store.glob("*/[!.]*"):
        if folder.parent.name in ("runs", "reports", "windows", "clips", "baselines"):
            manifest = read_manifest(folder)
            assert set(manifest["files"]) == {path.name for path in folder.iterdir()} - {MANIFEST}
    for model in history.client.search_logged_models([history.experiment]):
        files = local_folder(model.artifact_location, history.client.tracking_uri)
        assert str(model.status) != "READY" or (files / "model.safetensors").is_file()
    collect(history.store, 1)
    assert [history.whole(night) for night in nights] == [False, False, False, True]
    assert not list(history.store.glob("*/.*.removed"))
    assert history.model_ids() == {nights[3].model}
    left = [str(path) for path in history.store.rglob("*")]
    assert not [path for night in nights[:3] for path in left if night.model in path or night.run in path]
    assert collect(history.store, 1)["items"] == []


def test_a_process_that_is_killed_while_it_deletes_leaves_hidden_folders_that_the_next_deletes(history):
    nights = [history.night() for _ in range(3)]
    for number in range(3000):  # so that deleting takes a while
        (nights[0].folders["pretrain"] / f"{number}").touch()
    process = removing(history.store, 1)
    deadline = time.monotonic() + 120
    while not list(history.store.glob("*/.*.removed")) and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    hidden = list(history.store.glob("*/.*.removed"))
    assert hidden
    for folder in history.store.glob("runs/[!.]*"):  # hidden as a whole, or not yet
        assert {*read_manifest(folder)["files"], MANIFEST} <= {path.name for path in folder.iterdir()}
    collect(history.store, 1)
    assert not list(history.store.glob("*/.*.removed"))
    assert [history.whole(night) for night in nights] == [False, False, True]


def test_a_run_that_a_person_deleted_in_mlflow_is_theirs(history):
    nights = [history.night() for _ in range(3)]
    history.client.delete_run(nights[0].runs["pretrain"])
    collect(history.store, 1)
    assert history.client.get_run(nights[0].runs["pretrain"]).info.lifecycle_stage == "deleted"
    history.client.restore_run(nights[0].runs["pretrain"])
    assert history.client.list_artifacts(nights[0].runs["pretrain"])


def test_what_a_killed_training_would_go_on_from_stays_unless_it_is_old_or_not_wanted(history):
    [history.night() for _ in range(3)]
    old, young = partial(history.store, "runs", "a" * 16, 0.5), partial(history.store, "runs", "b" * 16, 2.5)
    no_resume = partial(history.store, "windows", "c" * 16, 2.5)
    collect(history.store, 1)
    assert [folder.exists() for folder in (old, young, no_resume)] == [False, True, False]
    collect(history.store, 1, every_partial=True)
    assert not young.exists()


def test_what_a_partial_training_learns_from_stays_with_it(history):
    old = history.night(windows_seed=9)
    [history.night() for _ in range(2)]
    history.run("pretrain", "b" * 16, {"windows": old.digests["convert"]}, 0.5, "FAILED")
    partial(history.store, "runs", "b" * 16, 2.5)
    collect(history.store, 1)
    assert old.folders["convert"].is_dir()
    assert not old.folders["pretrain"].exists()


def test_locks_of_the_dead_go_and_those_of_the_living_stay(history):
    [history.night() for _ in range(2)]
    living, dead = (history.store / "runs" / f".{digit * 16}.lock" for digit in "ab")
    processes = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(lock)], stdout=subprocess.PIPE, text=True)
        for lock in (living, dead)
    ]
    for process in processes:
        assert process.stdout.readline() == "held\n"
    partials = [partial(history.store, "runs", digit * 16, -5) for digit in "ab"]
    processes[1].kill()
    processes[1].wait()
    assert f"process {processes[0].pid} " in holder(living)
    assert holder(dead) is None
    outcome = collect(history.store, 1, every_partial=True)
    assert outcome["at_work"]  # nobody knows what it reads
    assert living.exists()
    assert living.with_name(f"{living.name}.holder").exists()
    assert not list(dead.parent.glob(f"{dead.name}*"))
    assert [folder.exists() for folder in partials] == [True, False]
    processes[0].kill()
    processes[0].wait()


def test_a_folder_whose_lock_is_held_is_not_hidden(tmp_path):
    from data_contracts.parameters import SyntheticParameters

    with open_stage(tmp_path, Identity("clips", "ingest", SyntheticParameters(), {})) as stage:
        pass
    lock = stage.folder.with_name(f".{stage.digest}.lock")
    with hold(lock, "x"):
        assert removal.hide(stage.folder) is None
        assert stage.folder.is_dir()
    gone = removal.hide(stage.folder)
    assert not stage.folder.exists()
    assert not lock.exists()
    with open_stage(tmp_path, Identity("clips", "ingest", SyntheticParameters(), {})) as again:
        assert not again.cached
    removal.delete(gone)
    assert again.folder.is_dir()
