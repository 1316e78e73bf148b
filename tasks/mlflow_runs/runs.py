"""Tracking: one MLflow experiment, a parent run per pipeline run, a child run per stage found again by its digest.

The default tracking store is SQLite and files below the pose-uplift store; `MLFLOW_TRACKING_URI` names another one.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import mlflow
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.sources import LocalArtifactDatasetSource  # type: ignore[attr-defined]
from mlflow.entities import DatasetInput, InputTag, Param, Run, RunStatus

from data_contracts.store.digests import Identity
from data_contracts.store.folders import Stage
from data_contracts.store.manifests import read_manifest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXPERIMENT = "pose-uplift"
STAGE_TAG, DIGEST_TAG = "uplift.stage", "uplift.digest"
_PARENT_TAG = "mlflow.parentRunId"
_own_uri: str | None = None


@dataclass
class TrackedRun:
    """An MLflow run to log to, wherever the calling thread stands."""

    client: MlflowClient
    run_id: str

    def log_metrics(self, metrics: dict[str, float], step: int = 0) -> None:
        """Metrics at a step, in one batch, without waiting for the tracking store."""
        mlflow.log_metrics(metrics, step=step, synchronous=False, run_id=self.run_id)

    def last_step(self, metric: str) -> int:
        """The step at which the run has a metric's newest value; -1 where it has none."""
        return max((entry.step for entry in self.client.get_metric_history(self.run_id, metric)), default=-1)

    def log_figure(self, figure: "Figure", file: str) -> None:
        """A picture."""
        self.client.log_figure(self.run_id, figure, file)

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """A file."""
        self.client.log_artifact(self.run_id, str(path), folder)

    def set_tags(self, tags: dict[str, Any]) -> None:
        """Tags of the run."""
        for key, value in tags.items():
            self.client.set_tag(self.run_id, key, value)

    def log_windows(self, folder: Path, context: str) -> None:
        """A windows folder as the run's input dataset."""
        manifest = read_manifest(folder)
        dataset = MetaDataset(  # type: ignore[abstract]
            LocalArtifactDatasetSource(folder.as_uri()), name=f"windows-{manifest['digest']}", digest=manifest["digest"]
        )
        tags = [InputTag("mlflow.data.context", context)]
        self.client.log_inputs(self.run_id, datasets=[DatasetInput(dataset._to_mlflow_entity(), tags)])


def connect(store: Path) -> MlflowClient:
    """Point MLflow at its tracking store; creates the database and the experiment once, under a lock."""
    global _own_uri  # MLflow writes what it is told into the environment, where it must not pass for a user's wish
    store = store.resolve()
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    store.mkdir(parents=True, exist_ok=True)
    if not uri or uri == _own_uri:
        database = store / "mlflow.db"
        _make(database)
        uri = _own_uri = f"sqlite:///{database}"
    if mlflow.get_tracking_uri() != uri:
        mlflow.set_tracking_uri(uri)
    if mlflow.get_registry_uri() != uri:
        mlflow.set_registry_uri(uri)
    with FileLock(store / ".mlflow.lock"):  # the first connection migrates an older database: one process at a time
        client = MlflowClient()
        if client.get_experiment_by_name(EXPERIMENT) is None:
            local = uri.startswith("sqlite:")
            client.create_experiment(
                EXPERIMENT,
                (store / "mlartifacts").as_uri() if local else None,
                tags={"mlflow.experimentKind": "custom_model_development"},  # the UI shows training, not GenAI, pages
            )
    return client


def _make(database: Path) -> None:
    """A new SQLite database with MLflow's tables, unless there is one: all of it or nothing.

    A process killed while MLflow creates the tables leaves a database that MLflow cannot open again.
    """
    with FileLock(database.with_name(".mlflow.lock")):
        if not database.exists():
            new = database.with_name(".mlflow.db.partial")
            new.unlink(missing_ok=True)
            MlflowClient(tracking_uri=f"sqlite:///{new}").search_experiments(max_results=1)
            new.replace(database)


@contextmanager
def track_stage(store: Path, stage: Stage, parent_run: str | None) -> Iterator[TrackedRun]:
    """The MLflow run of a stage, under its pipeline's run; a resumed stage goes on in its own run.

    The run ends FINISHED, or FAILED where the block raises. A cached stage logs nothing: its run exists already, and
    the parent is tagged with it.
    """
    client = connect(store)
    run = find_run(client, stage.digest)
    if run is None or not (stage.cached or stage.resumed or run.info.status != "FINISHED"):
        run = _create_run(client, stage.name, {STAGE_TAG: stage.name, DIGEST_TAG: stage.digest}, parent_run)
        log_params(client, run.info.run_id, stage.parameters)
    elif not stage.cached:
        client.update_run(run.info.run_id, status="RUNNING")
    run_id = run.info.run_id
    if parent_run:
        client.set_tag(parent_run, f"uplift.{stage.name}.run", run_id)
        client.set_tag(parent_run, f"uplift.{stage.name}.digest", stage.digest)
    with _ending(client, run_id):
        yield TrackedRun(client, run_id)


@contextmanager
def track_pipeline(store: Path, identity: Identity) -> Iterator[TrackedRun]:
    """The parent run of a pipeline; one that was killed or failed with the same digest is taken up again."""
    client = connect(store)
    run = find_run(client, identity.digest)
    if run is None or run.info.status == "FINISHED":
        run = _create_run(client, identity.name, {STAGE_TAG: identity.name, DIGEST_TAG: identity.digest}, None)
        log_params(client, run.info.run_id, identity.parameters.model_dump(mode="json"))
    else:
        client.update_run(run.info.run_id, status="RUNNING")
    with _ending(client, run.info.run_id):
        yield TrackedRun(client, run.info.run_id)


def find_run(client: MlflowClient, digest: str) -> Run | None:
    """The newest run with that stage digest."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None, "connect() creates the experiment"
    found = client.search_runs([experiment.experiment_id], f"tags.`{DIGEST_TAG}` = '{digest}'", max_results=1)
    return found[0] if found else None


def log_params(client: MlflowClient, run_id: str, parameters: dict[str, Any]) -> None:
    """Nested parameters as `path.to.parameter`, in one batch."""
    client.log_batch(run_id, params=[Param(key, str(value)) for key, value in _flatten(parameters)])


@contextmanager
def _ending(client: MlflowClient, run_id: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        mlflow.flush_async_logging()
        client.set_terminated(run_id, RunStatus.to_string(RunStatus.FAILED))
        raise
    mlflow.flush_async_logging()
    client.set_terminated(run_id, RunStatus.to_string(RunStatus.FINISHED))


def _create_run(client: MlflowClient, name: str, tags: dict[str, str], parent_run: str | None) -> Run:
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None, "connect() creates the experiment"
    tags = tags | ({_PARENT_TAG: parent_run} if parent_run else {})
    return client.create_run(experiment.experiment_id, tags=tags, run_name=name)


def _flatten(parameters: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in parameters.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value
