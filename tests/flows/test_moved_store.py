"""A store is moved or copied as a whole: every command works on the new place and nothing touches the old one."""

import hashlib
import json
import os
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from mlflow import MlflowClient
from prefect.settings import PREFECT_API_URL

from data_contracts.store.sqlite import sqlite_uri
from tasks.tracking.connection import connect
from tasks.tracking.names import EXPERIMENT, MODEL_NAME, store_id
from tests.flows.conftest import TINY
from tests.ports import free_ports
from tests.servers import serving
from tests.tasks.lifting.formats.writing import alphapose, body, seen_by, triples

CHAMPION = f"models:/{MODEL_NAME}@champion"
SETTINGS = [word for setting in TINY for word in ("--set", setting)]


def uplift(store: Path, *commands: list[str]) -> str:
    """Return the output of commands on a store, run in a new process; `log` and `delete` change a run in MLflow."""
    code = f"""
import json, sys
from mlflow import MlflowClient
from mlflow.cli import cli as mlflow
from flows.cli import app

for words in json.loads(sys.argv[1]):
    if words[0] == "alias":
        MlflowClient().set_registered_model_alias("{MODEL_NAME}", *words[1:])
    elif words[0] == "log":
        MlflowClient().log_text(words[1], "of this store", "note.txt")
    elif words[0] == "delete":
        MlflowClient().delete_run(words[1])
        uri = f"sqlite:///{{sys.argv[2]}}/mlflow.db"
        options = ["--backend-store-uri", uri, "--tracking-uri", uri, "--run-ids", words[1]]
        mlflow(["gc", *options], standalone_mode=False)
    else:
        app([*words, "--store", sys.argv[2]], standalone_mode=False)
"""
    environment = {**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value() or ""}
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-c", code, json.dumps(commands), str(store)]
    done = subprocess.run(command, env=environment, cwd=store.parent, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def copy(store: Path, to: Path) -> Path:
    subprocess.run(["cp", "-a", str(store), str(to)], check=True)
    return to


def files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file by path."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def use_everything(store: Path, keypoints: Path, windows: str, out: Path, run: str, *before: list[str]) -> str:
    """Run every command that uses a model or a run of MLflow, after other commands; return the output."""
    printed = uplift(
        store,
        *before,
        ["lift", str(keypoints), "--model", CHAMPION, "--out", str(out / "lifted")],
        ["export", CHAMPION, "--hub", "--out", str(out / "exported")],
        ["evaluate", windows, "--model", CHAMPION, *SETTINGS],
        ["pipeline", "--start-from", "champion", *SETTINGS],
        ["compare", f"models:/{MODEL_NAME}/1", f"models:/{MODEL_NAME}/2"],
        ["promote", *SETTINGS],
        ["alias", "previous", "1"],  # independent of the decision
        ["alias", "champion", "2"],
        ["rollback", "--reason", "a test"],
        ["lineage", CHAMPION],
        ["log", run],
        ["delete", run],
    )
    assert list((out / "lifted").rglob("motion.npz"))
    assert list((out / "exported").rglob("*.safetensors"))
    client = MlflowClient(registry_uri=sqlite_uri(store / "mlflow.db"))
    assert str(client.get_model_version_by_alias(MODEL_NAME, "champion").version) == "1"
    assert "finetune" in printed.partition("is version 1 again")[2]
    return printed


@pytest.fixture
def original(outcome, store, tmp_path) -> Path:
    """Return a store with a pipeline run whose model is the champion."""
    copied = copy(store, tmp_path / "original")
    connect(copied).set_registered_model_alias(MODEL_NAME, "champion", "1")  # the copy gets its own id
    return copied


@pytest.fixture
def keypoints(tmp_path) -> Path:
    file = tmp_path / "walk.json"
    file.write_text(json.dumps(alphapose([triples(seen_by("coco17", body(40, (300.0, 400.0))))], people=[1])))
    return file


def test_a_copy_and_a_moved_store_work_and_do_not_touch_each_other(original, outcome, keypoints, tmp_path):
    windows, run = Path(outcome["stages"]["convert"]["folder"]).name, outcome["mlflow_run"]
    before, name = files(original), store_id(original)
    other = copy(original, tmp_path / "other")
    unneeded = ["pretrain", windows, *SETTINGS, "--set", "pretrain.seed=7"]
    first = (unneeded, ["pipeline", *SETTINGS], ["gc", "--keep-last", "1", "--yes", "--json"])
    printed = use_everything(other, keypoints, windows, tmp_path / "of-other", run, *first)
    (removed,) = (json.loads(line)["items"] for line in printed.splitlines() if line.startswith("{"))
    assert "MLflow runs" in [item["kind"] for item in removed]
    assert not (other / "mlartifacts" / run / "artifacts").exists()
    assert files(original) == before
    assert store_id(other) != name

    before, moved = files(other), original.rename(tmp_path / "moved")
    uplift(
        moved,
        ["lift", str(keypoints), "--model", CHAMPION, "--out", str(tmp_path / "of-moved")],
        ["evaluate", windows, "--model", CHAMPION, *SETTINGS, "--set", "evaluate.robustness_windows=0"],
        ["lineage", CHAMPION],
    )
    assert list((tmp_path / "of-moved").rglob("motion.npz"))
    assert store_id(moved) == name
    assert files(other) == before
    assert not original.exists()


def get(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=60) as answer:
        return bytes(answer.read())


def test_a_server_on_a_copy_shows_and_stores_the_artifacts_of_the_copy(original, outcome, tmp_path):
    other, run = copy(original, tmp_path / "other"), outcome["mlflow_run"]
    before, folder = files(original), other / "mlartifacts" / run / "artifacts"
    (folder / "note.txt").write_text("the copy's")
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
    command += ["--backend-store-uri", sqlite_uri(other / "mlflow.db")]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    served = [*command, "--artifacts-destination", str(other / "mlartifacts")]
    connect(other)  # the copy gets its own id
    port, second = free_ports(2)
    with (
        serving([*served, "--port", str(port)], port, "/health", tmp_path / "server.log", environment) as address,
        serving([*command, "--port", str(second)], second, "/health", tmp_path / "second.log", environment) as without,
    ):
        for each in (address, without):
            assert get(f"{each}/get-artifact?path=note.txt&run_uuid={run}") == b"the copy's"
        listed = json.loads(get(f"{address}/api/2.0/mlflow/artifacts/list?run_id={run}"))
        assert "note.txt" in [file["path"] for file in listed["files"]]
        client = MlflowClient(tracking_uri=address, registry_uri=address)
        model = client.get_model_version(MODEL_NAME, "1").source.rpartition("/")[2]
        pages = f"{address}/ajax-api/2.0/mlflow/logged-models/{model}/artifacts"
        assert "MLmodel" in get(f"{pages}/directories").decode()
        assert b"python_function" in get(f"{pages}/files?artifact_file_path={urllib.parse.quote('MLmodel')}")
        # In another process, because MLflow's client keeps the repository of a run id for the life of a process.
        code = "import sys; from mlflow import MlflowClient; client, run = MlflowClient(sys.argv[1]), sys.argv[2]; "
        code += "client.log_text(run, 'through the server', 'more.txt'); "
        code += "client.download_artifacts(run, 'note.txt', sys.argv[3]); "
        code += "MlflowClient(sys.argv[4]).list_logged_model_artifacts(sys.argv[5])"
        words = [sys.executable, "-c", code, address, run, str(tmp_path), without, model]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        assert (folder / "more.txt").read_text() == "through the server"
        assert (tmp_path / "note.txt").read_text() == "the copy's"
        assert "start it with --artifacts-destination STORE/mlartifacts" in done.stderr
        experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
        assert client.create_run(experiment).info.artifact_uri.startswith("uplift-store:/mlartifacts/")
    assert files(original) == before
