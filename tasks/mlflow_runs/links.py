"""Where a person opens what a run keeps: a page of the MLflow server, or a file where there is none."""

from pathlib import Path

from mlflow import MlflowClient

from tasks.mlflow_runs.runs import connect, find_runs


def stage_artifact(store: Path, digest: str, file: str) -> str | None:
    """Link to an artifact of the newest finished run of a stage; none where this MLflow knows no run that has it."""
    client = connect(store)
    finished = [run.info.run_id for run in find_runs(client, digest) if run.info.status == "FINISHED"]
    return _link(client, finished[0], file) if finished else None


def run_artifact(store: Path, run_id: str, file: str) -> str | None:
    """Link to an artifact of a run; none if it has no such file."""
    return _link(connect(store), run_id, file)


def _link(client: MlflowClient, run_id: str, file: str) -> str | None:
    if all(artifact.path != file for artifact in client.list_artifacts(run_id)):
        return None
    run, server = client.get_run(run_id).info, str(client.tracking_uri)
    if server.startswith("http"):
        return f"{server.rstrip('/')}/#/experiments/{run.experiment_id}/runs/{run_id}/artifacts/{file}"
    return f"{run.artifact_uri}/{file}"
