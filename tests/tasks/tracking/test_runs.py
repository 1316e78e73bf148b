"""Runs in MLflow: no metric is lost, a run that has ended does not change, and each run has one owner."""

import threading
import time
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

import tasks.tracking.runs
from data_contracts.parameters import PipelineParameters, SyntheticParameters
from data_contracts.store.digests import StageKey
from data_contracts.store.folders import find_stage
from tasks.stage import Context, StageTask, get_or_compute
from tasks.tracking.runs import connect, find_runs, track_decision, track_pipeline

PIPELINE = StageKey("pipelines", "pipeline", SyntheticParameters(), {})


def log_three(stage, tracked, parameters):
    for step in range(3):
        tracked.log_metrics({"loss": 1.0 / (step + 1), "rate": 0.1}, step=step)


STAGE = StageTask("synthesise", log_three, parameters="synthetic")


KEY = STAGE.key({}, Context(Path(), PipelineParameters()))


def compute(store, parent_run=None):
    return get_or_compute(STAGE, {}, Context(store, PipelineParameters(), parent_run))


def failing(monkeypatch, times: int):
    """Let the next `times` batches of metrics fail."""
    take, left = SqlAlchemyStore.log_batch, [times]

    def log_batch(self, run_id, metrics, params, tags):
        if metrics and left[0]:
            left[0] -= 1
            raise MlflowException("database is locked")
        return take(self, run_id, metrics, params, tags)

    monkeypatch.setattr(SqlAlchemyStore, "log_batch", log_batch)


def test_metrics_that_mlflow_did_not_store_are_sent_again(empty_store, monkeypatch):
    failing(monkeypatch, times=1)  # MLflow may send several batches as one: a second refusal could be of it again
    result = compute(empty_store)
    client = connect(empty_store)
    (run,) = find_runs(client, result.digest)
    assert run.info.status == "FINISHED"
    for name in ("loss", "rate"):
        assert [entry.step for entry in client.get_metric_history(run.info.run_id, name)] == [0, 1, 2]


def test_a_stage_whose_metrics_are_lost_is_not_finished(empty_store, monkeypatch):
    with monkeypatch.context() as patch:
        failing(patch, times=1000)
        with pytest.raises(MlflowException, match="database is locked"):
            compute(empty_store)
    client = connect(empty_store)
    (run,) = find_runs(client, KEY.digest)
    assert run.info.status == "FAILED"
    assert find_stage(empty_store, KEY) is None
    compute(empty_store)
    (run,) = find_runs(client, KEY.digest)
    assert run.info.status == "FINISHED"
    assert [entry.step for entry in client.get_metric_history(run.info.run_id, "loss")] == [0, 1, 2]


def test_a_cached_stage_does_not_change_the_run_that_ended(empty_store):
    first = compute(empty_store)
    client = connect(empty_store)
    (before,) = find_runs(client, first.digest)
    time.sleep(0.01)
    with track_pipeline(empty_store, PIPELINE) as parent:
        again = compute(empty_store, parent.run_id)
        assert again.cached
        with pytest.raises(KeyboardInterrupt):  # the caller is interrupted
            compute(empty_store, parent.run_id)
            raise KeyboardInterrupt
    (after,) = find_runs(client, first.digest)
    assert (after.info.status, after.info.end_time) == (before.info.status, before.info.end_time)
    tags = client.get_run(parent.run_id).data.tags
    assert tags["uplift.synthesise.run"] == before.info.run_id
    assert tags["uplift.synthesise.digest"] == first.digest


def test_two_pipelines_of_one_digest_at_once_have_separate_runs(empty_store):
    of = PIPELINE
    with track_pipeline(empty_store, of) as one:
        with pytest.raises(ZeroDivisionError), track_pipeline(empty_store, of) as other:
            assert other.run_id != one.run_id
            raise ZeroDivisionError
        status = one.client.get_run(one.run_id).info.status
        assert status == "RUNNING"
    assert one.client.get_run(one.run_id).info.status == "FINISHED"
    assert one.client.get_run(other.run_id).info.status == "FAILED"
    with track_pipeline(empty_store, of) as resumed:
        assert resumed.run_id == other.run_id  # the failed run is resumed, the finished run is not


def test_a_run_that_its_owner_finishes_while_another_pipeline_looks_for_one_stays_finished(empty_store, monkeypatch):
    of, search = PIPELINE, find_runs
    owner = track_pipeline(empty_store, of)
    first = owner.__enter__()

    def search_and_then_it_ends(*arguments):
        runs = search(*arguments)
        assert runs[0].info.status == "RUNNING"
        owner.__exit__(None, None, None)
        return runs

    monkeypatch.setattr(tasks.tracking.runs, "find_runs", search_and_then_it_ends)
    with track_pipeline(empty_store, of) as second:
        assert second.run_id != first.run_id
        assert first.client.get_run(first.run_id).info.status == "FINISHED"


def test_the_run_of_a_killed_decision_fails_when_the_next_decision_starts(empty_store):
    killed = track_decision(empty_store, "promote", "promote 1 over baselines", {})
    dead = killed.__enter__()
    with track_decision(empty_store, "promote", "promote 1 over baselines", {}) as again:
        assert again.client.get_run(dead.run_id).info.status == "FAILED"
    assert again.client.get_run(again.run_id).info.status == "FINISHED"


def test_another_store_in_the_same_mlflow_does_not_resume_a_run_of_this_store(empty_store, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{empty_store / 'mlflow.db'}")
    of, here = PIPELINE, tmp_path / "here"
    with pytest.raises(ZeroDivisionError), track_pipeline(here, of) as failed:
        raise ZeroDivisionError
    with track_pipeline(tmp_path / "elsewhere", of) as other:
        assert other.run_id != failed.run_id
    with track_pipeline(here.rename(tmp_path / "moved"), of) as again:
        assert again.run_id == failed.run_id


def test_system_metrics_are_logged_until_the_block_ends(empty_store, monkeypatch):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    with track_pipeline(empty_store, PIPELINE) as tracked:
        with tracked.active(system_metrics=True):
            deadline = time.monotonic() + 60
            while not (logged := tracked.client.get_run(tracked.run_id).data.metrics):
                assert time.monotonic() < deadline
                time.sleep(0.1)
        assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= logged.keys()
        assert all(thread.name != "SystemMetricsMonitor" for thread in threading.enumerate())
        assert tracked.client.get_run(tracked.run_id).info.status == "RUNNING"
