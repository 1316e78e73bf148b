"""Tracking: one MLflow experiment, a parent run per pipeline run, a child run per stage found again by its digest.

Notable decisions:
- several stores may share one MLflow: a run bears the id of its store, and only that store's work goes on in it;
- a run has one owner. Of a stage it is who holds the stage's lock; of a pipeline, who holds the lock named after the
  run, so that two pipelines of one digest have a run each, and what a dead one left is taken up;
- a run that has ended is never written to by a stage that is cached;
- metrics go to MLflow while training goes on, and are waited for before a run is called finished.
"""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import Timeout
from mlflow import MlflowClient
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.sources import LocalArtifactDatasetSource  # type: ignore[attr-defined]
from mlflow.entities import DatasetInput, InputTag, LoggedModelInput, Metric, Param, Run, RunStatus
from mlflow.exceptions import MlflowException
from mlflow.utils.async_logging.run_operations import RunOperations
from mlflow.utils.validation import MAX_TAG_VAL_LENGTH

from data_contracts.presets import flatten
from data_contracts.run_names import data_behind, run_name
from data_contracts.store.code_version import code_version
from data_contracts.store.digests import StageKey
from data_contracts.store.folders import Stage
from data_contracts.store.locks import locked, try_lock
from data_contracts.store.manifests import read_manifest
from data_contracts.store.sequence import next_sequence
from tasks.tracking.connection import connect
from tasks.tracking.connection import make_database as make_database  # re-exported
from tasks.tracking.connection import named_uri as named_uri
from tasks.tracking.names import (
    CODE_TAG,
    CONNECTING_LOCK,
    DIGEST_TAG,
    EXPERIMENT,
    INPUTS_TAG,
    SEQUENCE_TAG,
    STAGE_TAG,
    STORE_TAG,
    owner_lock,
    store_id,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PARENT_TAG, _COMMIT_TAG = "mlflow.parentRunId", "mlflow.source.git.commit"  # the UI shows the second as its version
_LOG = logging.getLogger(__name__)


@dataclass
class TrackedRun:
    """An MLflow run to log to, wherever the calling thread stands."""

    client: MlflowClient
    run_id: str
    _sent: list[tuple[list[Metric], RunOperations]] = field(default_factory=list)

    def log_metrics(self, metrics: dict[str, float], step: int = 0, model_id: str | None = None) -> None:
        """Metrics at a step, in one batch, without waiting for the tracking store; `wait` does.

        Parameters
        ----------
        model_id
            A LoggedModel that they are of: its page, and that of its versions, shows them too.
        """
        if not metrics:
            return
        now = time.time_ns() // 1_000_000
        batch = [Metric(name, value, now, step, model_id=model_id) for name, value in metrics.items()]
        operations = self.client.log_batch(self.run_id, metrics=batch, synchronous=False)
        assert operations is not None, "what is logged asynchronously can be waited for"
        self._sent.append((batch, operations))

    def wait(self) -> None:
        """Wait until MLflow has every metric; what it did not take the first time is sent once more.

        Raises
        ------
        MlflowException
            It did not take it the second time either.
        """
        while self._sent:
            batch, operations = self._sent[0]
            try:
                operations.wait()
            except MlflowException as error:
                _LOG.warning("MLflow did not take metrics of step %d, sending them again: %s", batch[0].step, error)
                self.client.log_batch(self.run_id, metrics=batch, synchronous=True)  # the same entries: none twice
            del self._sent[0]

    def logged_steps(self, metric: str) -> set[int]:
        """The steps at which the run has a metric."""
        return {entry.step for entry in self.client.get_metric_history(self.run_id, metric)}

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

    def log_model_input(self, model_id: str | None) -> None:
        """A LoggedModel as what the run used: its page lists the run, and the run's page the model."""
        if model_id:
            self.client.log_inputs(self.run_id, models=[LoggedModelInput(model_id)])

    def log_windows(self, folder: Path, context: str) -> None:
        """A windows folder as the run's input dataset."""
        manifest = read_manifest(folder)
        dataset = MetaDataset(  # type: ignore[abstract]
            LocalArtifactDatasetSource(folder.as_uri()), name=f"windows-{manifest['digest']}", digest=manifest["digest"]
        )
        tags = [InputTag("mlflow.data.context", context)]
        self.client.log_inputs(self.run_id, datasets=[DatasetInput(dataset._to_mlflow_entity(), tags)])


@contextmanager
def track_stage(store: Path, stage: Stage, parent_run: str | None) -> Iterator[TrackedRun]:
    """The MLflow run of a stage at work, under its pipeline's run; one that was killed or failed is taken up again.

    The run ends FINISHED once MLflow has all that was logged, or FAILED where the block raises.
    """
    client = connect(store)
    known = find_runs(client, stage.digest, store)
    if not stage.interrupted:  # an interrupted one may have called its run finished before it was killed
        known = [run for run in known if run.info.status != "FINISHED"]
    if known:
        run = known[0]
        client.update_run(run.info.run_id, status="RUNNING")
    else:
        name = run_name(stage.name, stage.parameters, stage.data or data_behind(store, stage.inputs))
        run = _create_run(client, store, name, stage.name, stage.digest, parent_run)
        log_params(client, run.info.run_id, stage.parameters)
    _tag_origin(client, run.info.run_id, stage.inputs)
    _link(client, parent_run, stage, run.info.run_id)
    with _ending(client, run.info.run_id) as tracked:
        yield tracked


def link_cached(store: Path, stage: Stage, parent_run: str | None) -> None:
    """Tag the pipeline's run with the run of a stage that is there already, if this MLflow knows it; touch neither."""
    if parent_run:
        client = connect(store)
        known = [run for run in find_runs(client, stage.digest) if run.info.status == "FINISHED"]
        _link(client, parent_run, stage, known[0].info.run_id if known else None)


@contextmanager
def track_pipeline(store: Path, key: StageKey) -> Iterator[TrackedRun]:
    """The parent run of a pipeline; one of the same digest that failed, or whose process died, is taken up again."""
    client = connect(store)
    with ExitStack() as owned:
        with locked(store / CONNECTING_LOCK, "the runs of the store"):  # nobody else may take it up before it is owned
            run = _abandoned_run(client, store, key.digest, owned)
            if run is None:
                name = run_name(key.name, key.settings, key.data)
                run = _create_run(client, store, name, key.name, key.digest, None)
                owned.enter_context(_owned(store, run.info.run_id))
                log_params(client, run.info.run_id, key.parameters.model_dump(mode="json"))
            else:
                client.update_run(run.info.run_id, status="RUNNING")
            _tag_origin(client, run.info.run_id, key.inputs)  # who removes folders, under this lock, looks at it
        with _ending(client, run.info.run_id) as tracked:
            yield tracked


@contextmanager
def track_decision(store: Path, stage: str, name: str, tags: dict[str, str]) -> Iterator[TrackedRun]:
    """A run about models that are there already: a function of nothing, it has no digest and is not taken up again.

    Decisions of a store are taken one at a time, under a lock that the caller holds: what still runs here was killed.
    """
    client = connect(store)
    ours = {STAGE_TAG: stage, STORE_TAG: store_id(store)}
    left = " and ".join(
        ["attributes.status = 'RUNNING'", *(f"tags.`{tag}` = '{value}'" for tag, value in ours.items())]
    )
    for dead in search_stage_runs(client, left):
        client.set_terminated(dead.info.run_id, RunStatus.to_string(RunStatus.FAILED))
    tags = {**ours, SEQUENCE_TAG: str(next_sequence(store)), **tags}
    run = client.create_run(_experiment_id(client), tags=tags, run_name=name)
    with _ending(client, run.info.run_id) as tracked:
        yield tracked


def find_runs(client: MlflowClient, digest: str, store: Path | None = None) -> list[Run]:
    """Runs of that stage digest, of a store if given, the newest first."""
    wanted = f"tags.`{DIGEST_TAG}` = '{digest}'" + (f" and tags.`{STORE_TAG}` = '{store_id(store)}'" if store else "")
    return search_stage_runs(client, wanted)


def search_stage_runs(client: MlflowClient, wanted: str) -> list[Run]:
    """Runs of stages and pipelines by a filter of MLflow's, the newest first."""
    return list(client.search_runs([_experiment_id(client)], wanted, order_by=["start_time DESC"]))


def log_params(client: MlflowClient, run_id: str, parameters: dict[str, Any]) -> None:
    """Nested parameters as `path.to.parameter`, in one batch."""
    client.log_batch(run_id, params=[Param(key, str(value)) for key, value in flatten(parameters).items()])


@contextmanager
def _ending(client: MlflowClient, run_id: str) -> Iterator[TrackedRun]:
    tracked = TrackedRun(client, run_id)
    try:
        yield tracked
        tracked.wait()
    except BaseException:
        try:
            tracked.wait()
        except MlflowException as error:  # what went wrong first is what is raised
            _LOG.warning("metrics of run %s are lost: %s", run_id, error)
        client.set_terminated(run_id, RunStatus.to_string(RunStatus.FAILED))
        raise
    client.set_terminated(run_id, RunStatus.to_string(RunStatus.FINISHED))


def _abandoned_run(client: MlflowClient, store: Path, digest: str, owned: ExitStack) -> Run | None:
    """Return the newest unfinished run of a pipeline whose owner is gone; this process owns it until `owned` ends."""
    for found in find_runs(client, digest, store):
        if found.info.status == "FINISHED":
            continue
        with ExitStack() as attempt:
            try:
                attempt.enter_context(_owned(store, found.info.run_id))
            except Timeout:
                continue
            run = client.get_run(found.info.run_id)  # its owner may have finished it since the search
            if run.info.status != "FINISHED":
                owned.push(attempt.pop_all())
                return run
    return None


@contextmanager
def _owned(store: Path, run_id: str) -> Iterator[None]:
    """The run belongs to this process while the block lasts; raises `Timeout` where it belongs to another."""
    file = owner_lock(store, run_id)
    file.parent.mkdir(parents=True, exist_ok=True)
    with try_lock(file, with_note=True) as ours:
        if not ours:
            raise Timeout(str(file))
        yield
        file.unlink(missing_ok=True)  # it has ended well: nobody will take it up


def _create_run(client: MlflowClient, store: Path, name: str, stage: str, digest: str, parent_run: str | None) -> Run:
    number = str(next_sequence(store))
    tags = {STAGE_TAG: stage, DIGEST_TAG: digest, STORE_TAG: store_id(store), SEQUENCE_TAG: number}
    tags |= {_PARENT_TAG: parent_run} if parent_run else {}
    return client.create_run(_experiment_id(client), tags=tags, run_name=name)


def _tag_origin(client: MlflowClient, run_id: str, inputs: dict[str, str]) -> None:
    """What the run starts from, and the code that works at it; of a run that is taken up again, the code that ends it.

    Of more inputs than a tag has room for nothing is said: the manifest has them.
    """
    code, of_inputs = code_version(), json.dumps(inputs)
    tags = {CODE_TAG: json.dumps(code)} | ({_COMMIT_TAG: code["commit"]} if code["commit"] else {})
    tags |= {INPUTS_TAG: of_inputs} if len(of_inputs) <= MAX_TAG_VAL_LENGTH else {}
    for key, value in tags.items():
        client.set_tag(run_id, key, value)


def _link(client: MlflowClient, parent_run: str | None, stage: Stage, run_id: str | None) -> None:
    if parent_run:
        client.set_tag(parent_run, f"uplift.{stage.name}.digest", stage.digest)
        if run_id:
            client.set_tag(parent_run, f"uplift.{stage.name}.run", run_id)


def _experiment_id(client: MlflowClient) -> str:
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None, "connect() creates the experiment"
    return str(experiment.experiment_id)
