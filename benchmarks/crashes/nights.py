"""The night, and what it leaves in store and registry."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.stack import ROOT, TINY, ask, free_ports, tiny
from data_contracts.store.checking import check_folder
from data_contracts.store.digests import KINDS
from data_contracts.store.manifests import MANIFEST, read_manifest

CHANGES = ("pretrain.max_epochs=4", "pretrain.patience=4", "pretrain.keep_top=1", "finetune.max_epochs=2")
WHERE = ("runtime.checkpoint_minutes=0.01", "runtime.wait_minutes=5")  # where it runs: no result
EXACT = ("clips", "windows", "runs")  # kinds of folders that are the same to the byte; a baseline learns for minutes


def wanted() -> Any:
    """Parameters of the night."""
    return tiny(*CHANGES, *WHERE)


def undisturbed(root: Path) -> dict[str, Any]:
    """What a night leaves that nobody disturbed, in a store with an MLflow of its own."""
    store, (port,), kept = root / "undisturbed", free_ports(1), root / "undisturbed.json"
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    environment = {**os.environ, "PREFECT_HOME": str(root / "undisturbed-home"), "OMP_NUM_THREADS": "1"}
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        environment.pop(name, None)
    settings = [f"--set={setting}" for setting in (*TINY, *CHANGES, *WHERE)]
    command = [sys.executable, "-m", "flows.command_line", "pipeline", "--promote", "gate", "--store", str(store)]
    command += ["--preset", str(ROOT / "benchmarks/small.yaml"), *settings]
    started = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the undisturbed night ended with {done.returncode}: {done.stderr[-2000:]}")
    print(f"undisturbed: {time.monotonic() - started:.0f} s", flush=True)
    told = {**environment, "UPLIFT_STORE": str(store), "UPLIFT_MLFLOW_PORT": str(port)}
    log = (root / "undisturbed.log").open("w")
    server = subprocess.Popen(
        [sys.executable, "-m", "flows.stack.parts", "mlflow"],
        cwd=ROOT,
        env=told,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        for _ in range(600):
            with suppress(OSError):
                found = outcome(store, f"http://127.0.0.1:{port}")
                kept.write_text(json.dumps(found))
                return found
            time.sleep(0.5)
        raise SystemExit(f"its MLflow did not answer; see {log.name}")
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()
        log.close()


def outcome(store: Path, mlflow: str) -> dict[str, Any]:
    """What is compared: folders by digest, bytes, versions, what is half done."""
    folders = [folder for kind in sorted(set(KINDS.values())) for folder in finished(store, kind)]
    for folder in folders:
        check_folder(folder)
    files = {
        f"{folder.parent.name}/{folder.name}": read_manifest(folder)["files"]
        for folder in folders
        if folder.parent.name in EXACT
    }
    return {
        "folders": [f"{folder.parent.name}/{folder.name}" for folder in folders],
        "files": files,
        "half done": [str(path.relative_to(store)) for path in store.glob("*/.*.partial")],
        "versions": versions(mlflow),
    }


def finished(store: Path, kind: str) -> list[Path]:
    """Finished folders of a kind."""
    return [
        path.parent for path in sorted((store / kind).glob(f"*/{MANIFEST}")) if not path.parent.name.startswith(".")
    ]


def versions(mlflow: str) -> list[list[Any]]:
    """Number and aliases of every version."""
    found = ask(f"{mlflow}/api/2.0/mlflow/registered-models/search")
    models = found.get("registered_models", [])
    listed = ask(f"{mlflow}/api/2.0/mlflow/model-versions/search") if models else {}
    aliases = [(entry["alias"], entry["version"]) for model in models for entry in model.get("aliases", [])]
    return sorted(
        [one["version"], sorted(alias for alias, number in aliases if number == one["version"])]
        for one in listed.get("model_versions", [])
    )


def mlflow_runs(mlflow: str, wanted_: str) -> list[dict[str, Any]]:
    """Runs by a filter of MLflow's."""
    experiments = ask(f"{mlflow}/api/2.0/mlflow/experiments/search", {"max_results": 100})["experiments"]
    ids = [one["experiment_id"] for one in experiments]
    asked = {"experiment_ids": ids, "filter": wanted_, "max_results": 1000}
    found: list[dict[str, Any]] = ask(f"{mlflow}/api/2.0/mlflow/runs/search", asked).get("runs", [])
    return found
