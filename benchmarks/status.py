"""Seconds of `uplift status` with many runs in MLflow.

    python -m benchmarks.status [--runs 1000] [--rounds 5] [--folder DIR]

Fills a store: nights of a pipeline's run and six of its stages, each with 25 parameters, 15 tags, 60 metrics, folders
in the store, a file in MLflow, a version with scores. Then the command is typed, `--rounds` times, as a process of its
own; in turn with it the same is asked of MLflow's own client. With `--folder` the store is kept, and used again.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

STAGES = ("ingest", "convert", "pretrain", "finetune", "baselines", "evaluate")
ROOT = Path(__file__).parent.parent


def main() -> None:
    """Run the benchmark as described above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "PREFECT_"))}
    environment["PYTHONPATH"] = str(ROOT)
    with TemporaryDirectory() as folder:
        store = (options.folder or Path(folder)) / "store"
        if not store.exists():
            fill(store, options.runs)
        command = [sys.executable, "-m", "flows.command_line", "status", "--store", str(store), "--json"]
        seconds, rivals = [], []
        for _ in range(options.rounds):
            seconds.append(timed(command, environment))
            rivals.append(timed([sys.executable, "-c", RIVAL, str(store)], environment))
    for name, measured in (("uplift status", seconds), ("MLflow's client", rivals)):
        wall, cpu = zip(*measured, strict=True)
        slowest, of_cpu = f"slowest of {len(wall)} {max(wall):.2f} s", f"CPU {median(cpu):.2f} s"
        print(f"{options.runs:,} runs, {name:15}: {median(wall):.2f} s, {slowest}, {of_cpu}")
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


RIVAL = """
import sys
from mlflow import MlflowClient
client = MlflowClient(tracking_uri=f"sqlite:///{sys.argv[1]}/mlflow.db")
experiment = client.get_experiment_by_name("pose-uplift").experiment_id
for wanted in ("tags.`uplift.stage` = 'pipeline'", "attributes.status = 'RUNNING'"):
    client.search_runs([experiment], wanted, max_results=5, order_by=["start_time DESC"])
for alias, version in client.get_registered_model("pose-uplift").aliases.items():
    client.get_model_version("pose-uplift", version)
"""


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds that a command takes, by the clock and of CPU time: what else runs here disturbs the second less."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, env=environment, cwd=ROOT, capture_output=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def fill(store: Path, runs: int) -> None:
    """Nights of so many runs in all, in the MLflow that MLFLOW_TRACKING_URI names, or else in the store's own."""
    from mlflow.entities import Metric, Param, RunTag

    from data_contracts.store.digests import KINDS
    from tasks.mlflow_runs.names import DIGEST_TAG, EXPERIMENT, MODEL_NAME, STAGE_TAG, STORE_TAG, VERSION_TAG, store_id
    from tasks.mlflow_runs.runs import connect
    from tasks.mlflow_runs.store_artifacts import local_folder

    client = connect(store)
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    client.create_registered_model(MODEL_NAME)
    params = [Param(f"stage.parameter_{n}", str(n)) for n in range(25)]
    for number in range(runs):
        night, place = divmod(number, 1 + len(STAGES))
        stage, began = ("pipeline", *STAGES)[place], int((time.time() - 3e7 + number * 1e4) * 1000)
        digest = f"{number:016x}"
        tags = {STAGE_TAG: stage, DIGEST_TAG: digest, STORE_TAG: store_id(store), VERSION_TAG: str(night + 1)}
        run = client.create_run(experiment, began, tags, f"{stage} of night {night}").info
        metrics = [Metric(f"test/score_{n}", n, began, 0) for n in range(59)] + [Metric("test/mpjpe_mm", 40, began, 0)]
        more = [RunTag(f"uplift.tag_{n}", json.dumps({"n": n})) for n in range(11)]
        client.log_batch(run.run_id, metrics, params, more)
        client.set_terminated(run.run_id, "FINISHED", began + 1_000_000)
        files = local_folder(run.artifact_uri, client.tracking_uri)
        if files:  # else a server has them
            files.mkdir(parents=True)
            (files / "playing.html").write_bytes(bytes(1000))
        if stage == "pipeline":
            scores = {
                "test/mpjpe_mm": "40.1",
                "test/p_mpjpe_mm": "30.2",
                "test/pck_150": "0.97",
                "test/mpjve_mm": "3.1",
            }
            client.create_model_version(
                MODEL_NAME, run.artifact_uri, run.run_id, {**scores, "promotion.promoted": "False"}
            )
        else:
            folder = store / KINDS[stage] / digest
            folder.mkdir(parents=True)
            (folder / "manifest.json").write_bytes(bytes(5000))
            folder.with_name(f".{digest}.lock").touch()
    for alias, version in (("champion", 1), ("challenger", 2), ("previous", 1)):
        client.set_registered_model_alias(MODEL_NAME, alias, str(version))


if __name__ == "__main__":
    main()
