"""MLflow runs: one parent run per pipeline run and one child run per stage, found by the digest of the stage.

- Several stores may share one MLflow. Each run has the id of its store in a tag, and only that store resumes it.
- Each run has one owner: the process that holds the stage lock or, for a pipeline, the lock named after the run id. If
  the owner has died, the run is resumed. A cached stage never changes a run that has ended.
"""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelInput, Metric, Param, Run
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import MAX_TAG_VAL_LENGTH

from data_contracts.parameters.presets import flatten
from data_contracts.store.digests import StageKey
from data_contracts.store.folders import Stage
from data_contracts.store.locks import locked, try_lock
from data_contracts.store.manifests import code_version, read_manifest
from data_contracts.store.run_names import input_data_name, run_name
from data_contracts.store.sequence import next_sequence
from tasks.tracking.connection import connect
from tasks.tracking.names import (
    CONNECTING_LOCK,
    DIGEST_TAG,
    EXPERIMENT,
    INPUTS_TAG,
    PARENT_TAG,
    SEQUENCE_TAG,
    STAGE_TAG,
    STORE_TAG,
    owner_lock,
    store_id,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COMMIT_TAG = "mlflow.source.git.commit"  # the UI shows it as the version of the run
_LOG = logging.getLogger(__name__)
logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)  # it logs each start and end


@dataclass
class TrackedRun:
    """An MLflow run; every thread may log to the run."""

    client: MlflowClient
    run_id: str

    def log_metrics(self, metrics: dict[str, float], step: int = 0, model_id: str | None = None) -> None:
        """Log metrics at a step, in one batch; the page of the LoggedModel `model_id` also displays the metrics."""
        now = time.time_ns() // 1_000_000
        batch = [Metric(name, value, now, step, model_id=model_id) for name, value in metrics.items()]
        try:
            self.client.log_batch(self.run_id, metrics=batch)
        except MlflowException as error:
            _LOG.warning("MLflow did not store metrics of step %d; sending them again: %s", step, error)
            self.client.log_batch(self.run_id, metrics=batch)  # MLflow skips entries that it has

    def logged_steps(self, metric: str) -> set[int]:
        """Return the steps at which the run has a value of the metric."""
        return {entry.step for entry in self.client.get_metric_history(self.run_id, metric)}

    def log_figure(self, figure: "Figure", file: str) -> None:
        """Log a figure as an image file."""
        self.client.log_figure(self.run_id, figure, file)

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Log a file as an artifact."""
        self.client.log_artifact(self.run_id, str(path), folder)

    @contextmanager
    def active(self, system_metrics: bool = False) -> Iterator[None]:
        """Make the run MLflow's active run, for calls without a run id; the run is not ended afterwards.

        With `system_metrics` a thread logs the use of CPU, memory, disk, network and NVIDIA GPUs every 10 s.
        """
        mlflow.start_run(run_id=self.run_id, nested=True, log_system_metrics=system_metrics)
        try:
            yield
        finally:
            mlflow.end_run(status="RUNNING")

    def set_tags(self, tags: dict[str, Any]) -> None:
        """Set tags of the run."""
        for key, value in tags.items():
            self.client.set_tag(self.run_id, key, value)

    def log_model_input(self, model_id: str | None) -> None:
        """Log a LoggedModel as an input of the run, so that the pages of model and run link to each other."""
        if model_id:
            self.client.log_inputs(self.run_id, models=[LoggedModelInput(model_id)])

    def log_windows(self, folder: Path, context: str) -> None:
        """Log a windows folder as the input dataset of the run."""
        digest = read_manifest(folder)["digest"]
        dataset = Dataset(f"windows-{digest}", digest, "local", json.dumps({"uri": folder.as_uri()}))
        tags = [InputTag("mlflow.data.context", context)]
        self.client.log_inputs(self.run_id, datasets=[DatasetInput(dataset, tags)])


@contextmanager
def track_stage(store: Path, stage: Stage, parent_run: str | None) -> Iterator[TrackedRun]:
    """Yield the MLflow run of a stage that is computed, as a child of the pipeline's run; resume an unfinished run.

    The run becomes FINISHED when MLflow has stored all metrics, or FAILED if the block raises.
    """
    client = connect(store)
    runs = find_runs(client, stage.digest, store)
    if not stage.interrupted:  # an interrupted stage may have finished its run before it was killed
        runs = [run for run in runs if run.info.status != "FINISHED"]
    if runs:
        run = runs[0]
        client.update_run(run.info.run_id, status="RUNNING")
    else:
        name = run_name(stage.data or input_data_name(store, stage.inputs), stage.name)
        run = _create_run(client, store, name, stage.name, stage.digest, parent_run)
        log_params(client, run.info.run_id, stage.parameters)
    _tag_origin(client, run.info.run_id, stage.inputs)
    _link(client, parent_run, stage, run.info.run_id)
    with _ending(TrackedRun(client, run.info.run_id)) as tracked:
        yield tracked


def link_cached(store: Path, stage: Stage, parent_run: str | None) -> None:
    """Tag the run of a pipeline with the digest of a cached stage and, if MLflow has one, its finished run."""
    if parent_run:
        client = connect(store)
        _link(client, parent_run, stage, finished_run(client, stage.digest))


@contextmanager
def track_pipeline(store: Path, key: StageKey, preset: str = "") -> Iterator[TrackedRun]:
    """Yield the parent run of a pipeline, whose name ends with `preset`; resume an unfinished run of the same `key`.

    A run is unfinished if it failed or its process died.
    """
    client = connect(store)
    with ExitStack() as owned:
        with locked(store / CONNECTING_LOCK, "the runs of the store"):  # only one process resumes a run
            run = _abandoned_run(client, store, key.digest, owned)
            if run is None:
                name = run_name(key.data, preset)
                run = _create_run(client, store, name, key.name, key.digest, None)
                owned.enter_context(_owned(store, run.info.run_id))
                log_params(client, run.info.run_id, key.parameters.model_dump(mode="json"))
            else:
                client.update_run(run.info.run_id, status="RUNNING")
            _tag_origin(client, run.info.run_id, key.inputs)  # gc reads the tag under the same lock
        with _ending(TrackedRun(client, run.info.run_id)) as tracked:
            yield tracked


@contextmanager
def track_decision(store: Path, stage: str, name: str, tags: dict[str, str]) -> Iterator[TrackedRun]:
    """Yield the run of a promotion decision; it has no digest and is never resumed.

    The caller holds the promotion lock, so any other RUNNING decision of the store was killed and is set to FAILED.
    """
    client = connect(store)
    own_tags = {STAGE_TAG: stage, STORE_TAG: store_id(store)}
    conditions = ["attributes.status = 'RUNNING'", *(f"tags.`{tag}` = '{value}'" for tag, value in own_tags.items())]
    for dead in search_stage_runs(client, " and ".join(conditions)):
        client.set_terminated(dead.info.run_id, "FAILED")
    tags = {**own_tags, SEQUENCE_TAG: str(next_sequence(store)), **tags}
    run = client.create_run(experiment_id(client), tags=tags, run_name=name)
    with _ending(TrackedRun(client, run.info.run_id)) as tracked:
        yield tracked


def find_runs(client: MlflowClient, digest: str, store: Path | None = None) -> list[Run]:
    """Return the runs of a stage digest, the newest first; with `store`, only the runs of that store."""
    of_store = f" and tags.`{STORE_TAG}` = '{store_id(store)}'" if store else ""
    return search_stage_runs(client, f"tags.`{DIGEST_TAG}` = '{digest}'{of_store}")


def finished_run(client: MlflowClient, digest: str) -> str | None:
    """Return the id of the newest finished run of a stage digest, or None if there is none."""
    runs = search_stage_runs(client, f"tags.`{DIGEST_TAG}` = '{digest}' and attributes.status = 'FINISHED'")
    return str(runs[0].info.run_id) if runs else None


def search_stage_runs(client: MlflowClient, condition: str) -> list[Run]:
    """Return the runs of stages and pipelines that match an MLflow filter, the newest first."""
    return list(client.search_runs([experiment_id(client)], condition, order_by=["start_time DESC"]))


def experiment_id(client: MlflowClient) -> str:
    """Return the id of the experiment with all runs of the project."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None, "connect() creates the experiment"
    return str(experiment.experiment_id)


def log_params(client: MlflowClient, run_id: str, parameters: dict[str, Any]) -> None:
    """Log nested parameters as `path.to.parameter`, in one batch."""
    client.log_batch(run_id, params=[Param(key, str(value)) for key, value in flatten(parameters).items()])


@contextmanager
def _ending(tracked: TrackedRun) -> Iterator[TrackedRun]:
    try:
        yield tracked
    except BaseException:
        tracked.client.set_terminated(tracked.run_id, "FAILED")
        raise
    tracked.client.set_terminated(tracked.run_id)


def _abandoned_run(client: MlflowClient, store: Path, digest: str, owned: ExitStack) -> Run | None:
    """Return the newest unfinished run whose owner has died, or None; this process owns it until `owned` closes."""
    for candidate in find_runs(client, digest, store):
        if candidate.info.status == "FINISHED":
            continue
        with ExitStack() as attempt:
            if not attempt.enter_context(_owned(store, candidate.info.run_id)):
                continue
            run = client.get_run(candidate.info.run_id)  # its owner may have finished it since the search
            if run.info.status != "FINISHED":
                owned.push(attempt.pop_all())
                return run
    return None


@contextmanager
def _owned(store: Path, run_id: str) -> Iterator[bool]:
    """Try to own a run while the block runs; yield whether this process owns the run."""
    file = owner_lock(store, run_id)
    file.parent.mkdir(parents=True, exist_ok=True)
    with try_lock(file, with_note=True) as is_owner:
        yield is_owner
        if is_owner:
            file.unlink(missing_ok=True)  # no process resumes a finished run


def _create_run(client: MlflowClient, store: Path, name: str, stage: str, digest: str, parent_run: str | None) -> Run:
    number = str(next_sequence(store))
    tags = {STAGE_TAG: stage, DIGEST_TAG: digest, STORE_TAG: store_id(store), SEQUENCE_TAG: number}
    tags |= {PARENT_TAG: parent_run} if parent_run else {}
    return client.create_run(experiment_id(client), tags=tags, run_name=name)


def _tag_origin(client: MlflowClient, run_id: str, inputs: dict[str, str]) -> None:
    """Tag a run with its inputs and the code version; a resumed run gets the code version of the last process."""
    code, inputs_json = code_version(), json.dumps(inputs)
    if code["commit"]:
        client.set_tag(run_id, _COMMIT_TAG, code["commit"])
    if len(inputs_json) <= MAX_TAG_VAL_LENGTH:  # else they are in the manifest only
        client.set_tag(run_id, INPUTS_TAG, inputs_json)


def _link(client: MlflowClient, parent_run: str | None, stage: Stage, run_id: str | None) -> None:
    if parent_run:
        client.set_tag(parent_run, f"uplift.{stage.name}.digest", stage.digest)
        if run_id:
            client.set_tag(parent_run, f"uplift.{stage.name}.run", run_id)
