"""gc keeps everything that is needed and removes the rest from the store and from MLflow."""

import shutil
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from data_contracts.errors import InputError
from data_contracts.store.digests import file_digest
from data_contracts.store.locks import locked
from data_contracts.store.manifests import MANIFEST
from tasks.maintenance.gc import collect
from tasks.tracking.names import BENCHMARK_TAG, MODEL_NAME, PARENT_TAG, PROMOTION_TAG
from tasks.tracking.runs import finished_run
from tests.tasks.maintenance.history import History, files_below, milliseconds

TRAINED = ("pretrain", "finetune", "evaluate")  # stages that each pipeline run computes; the others are cached


def removed(run) -> bool:
    """Return whether all folders that only this pipeline run has made are gone."""
    return not any(run.folders[stage].exists() for stage in TRAINED)


def test_the_last_pipeline_runs_are_kept_and_nothing_is_left_of_the_others(history):
    runs = [history.pipeline() for _ in range(5)]
    assert all(map(history.whole, runs))
    outcome = collect(history.store, 2, dry_run=False)
    assert [history.whole(run) for run in runs] == [False, False, False, True, True]
    assert all(map(removed, runs[:3]))
    assert runs[0].folders["convert"].is_dir()  # the later runs use it
    assert history.versions() == {run.version for run in runs[3:]}
    assert history.model_ids() == {run.model for run in runs[3:]}
    for run in runs[:3]:
        assert not {run.runs[stage] for stage in TRAINED} & history.run_ids()
    assert history.left_of(runs[:3]) == []
    assert outcome["since"] == milliseconds(3)
    assert outcome["removed"]["runs"]["count"] == 6
    assert outcome["skipped"] == []
    assert collect(history.store, 2, dry_run=False)["items"] == []


def test_mlflow_has_no_rows_of_what_gc_removed(history):
    runs = [history.pipeline() for _ in range(3)]
    collect(history.store, 1, dry_run=False)
    for run_id in (runs[1].run, runs[1].runs["finetune"]):
        with pytest.raises(MlflowException, match="not found"):
            history.client.get_run(run_id)


def test_a_dry_run_is_the_default_and_lists_what_gc_then_removes(history):
    [history.pipeline() for _ in range(3)]
    before = files_below(history.store)
    listed = collect(history.store, 1)
    assert files_below(history.store) == before
    assert listed["dry_run"]
    assert listed["removed"]["runs"]["bytes"] > 100
    assert listed["removed"]["MLflow models"]["bytes"] == 2 * 64
    assert listed["bytes"] == sum(item["bytes"] or 0 for item in listed["items"])
    done = collect(history.store, 1, dry_run=False)
    assert done["items"] == listed["items"]


@pytest.mark.parametrize("clock_days", [-2.0, -400.0])
def test_results_made_while_the_clock_was_back_are_newer_than_those_before(history, clock_days):
    runs = [history.pipeline() for _ in range(2)]
    history.clock_days = clock_days
    tracks = [history.stage(None, "keypoints", "keypoints", {"source": str(n)}, 2 + n / 10, 0) for n in range(2)]
    runs.append(history.pipeline())
    history.clock_days = 0
    tracks.append(history.stage(None, "keypoints", "keypoints", {"source": "9"}, 1.5, 0))
    collect(history.store, 1, dry_run=False)
    assert [history.whole(run) for run in runs] == [False, False, True]
    assert [folder.is_dir() for folder in tracks] == [True, True, False]


def test_a_version_with_an_alias_is_kept_with_everything_it_comes_from_and_was_scored_on(history):
    runs = [history.pipeline(windows_seed=day) for day in range(5)]
    history.crown(runs[0])
    history.crown(runs[2], "previous")
    collect(history.store, 1, dry_run=False)
    for run, is_kept in zip(runs, (True, False, True, False, True), strict=True):
        assert (run.version in history.versions()) == (run.model in history.model_ids()) == is_kept
        for stage in ("convert", "pretrain", "finetune", "baselines", "evaluate"):
            assert (run.folders[stage] / MANIFEST).is_file() == is_kept, stage
            assert (run.runs[stage] in history.run_ids()) == is_kept, stage
        assert (run.folders["ingest"] / MANIFEST).is_file()


def test_a_cached_pipeline_run_keeps_the_results_of_an_old_one(history):
    first = history.pipeline(seed=7)
    others = [history.pipeline() for _ in range(3)]
    again = history.pipeline(seed=7)
    collect(history.store, 1, dry_run=False)
    assert again.folders["finetune"] == first.folders["finetune"]
    assert history.whole(again)
    assert [removed(run) for run in others] == [True, True, False]  # the third has the last version
    assert [run.run in history.run_ids() for run in (first, *others)] == [True, False, False, True]


def test_a_pipeline_run_stays_in_mlflow_as_long_as_one_of_its_stages(history):
    runs = [history.pipeline() for _ in range(3)]
    collect(history.store, 1, dry_run=False)
    assert [run.run in history.run_ids() for run in runs] == [True, False, True]  # the third uses windows of the first
    parents = {run.data.tags.get(PARENT_TAG) for run in history.client.search_runs([history.experiment])}
    assert parents - {None} <= history.run_ids()
    [history.pipeline(windows_seed=1) for _ in range(2)]
    history.client.set_tag(runs[0].runs["ingest"], PARENT_TAG, runs[2].run)  # the last stage of the first in use
    collect(history.store, 1, dry_run=False)
    assert [run.run in history.run_ids() for run in runs] == [False, False, True]


def test_the_windows_of_the_benchmark_are_kept(history):
    runs = [history.pipeline(windows_seed=day) for day in range(3)]
    history.client.set_registered_model_tag(MODEL_NAME, BENCHMARK_TAG, runs[0].digests["convert"])
    collect(history.store, 1, dry_run=False)
    assert [run.folders["convert"].is_dir() for run in runs] == [True, False, True]
    assert runs[0].folders["baselines"].is_dir()
    assert removed(runs[0])


def test_a_copy_of_a_stage_folder_in_another_place_of_the_store_is_kept(history):
    runs = [history.pipeline() for _ in range(2)]
    backup = Path(shutil.copytree(runs[0].folders["finetune"], history.store / "backup" / "finetune"))
    collect(history.store, 1, dry_run=False)
    assert removed(runs[0])
    assert (backup / MANIFEST).is_file()


def test_everything_since_the_start_of_the_oldest_kept_pipeline_run_is_kept(history):
    old, *_ = [history.pipeline(windows_seed=day) for day in range(3)]
    by_hand = history.stage(None, "runs", "pretrain", {"windows": old.digests["convert"]}, 2.2, 99)
    failed = history.run("pretrain", "0" * 16, {"windows": old.digests["convert"]}, 2.5, "FAILED")
    older = history.run("pretrain", "1" * 16, {}, 1.5, "FAILED")
    collect(history.store, 1, dry_run=False)
    assert by_hand.is_dir()
    assert old.folders["convert"].is_dir()  # the stage run by hand was trained on it
    assert failed in history.run_ids()
    assert older not in history.run_ids()


def test_a_store_with_fewer_pipeline_runs_keeps_everything(history):
    runs = [history.pipeline() for _ in range(3)]
    assert collect(history.store, 4, dry_run=False)["items"] == []
    assert all(map(history.whole, runs))


def test_a_decision_about_a_kept_version_is_kept(history):
    runs = [history.pipeline() for _ in range(4)]
    about = [
        history.run("promote", "", {}, 0.5, **{PROMOTION_TAG: f"{challenger.version}-{other}"})
        for challenger, other in ((runs[0], "baselines"), (runs[1], runs[0].version), (runs[3], "baselines"))
    ]
    collect(history.store, 1, dry_run=False)
    assert [run in history.run_ids() for run in about] == [False, False, True]


def test_the_last_keypoints_and_motions_are_kept_without_the_models_that_lifted_them(history):
    old = history.pipeline()
    weights = file_digest(old.folders["finetune"] / "model.safetensors")
    lifted = []
    for number in range(4):
        tracks = history.stage(None, "keypoints", "keypoints", {"source": str(number)}, number / 10, 0)
        lifted.append(
            history.stage(None, "motions", "lift", {"keypoints": tracks.name, "checkpoint": weights}, number / 10, 0)
        )
    [history.pipeline() for _ in range(2)]
    collect(history.store, 2, dry_run=False)
    assert [folder.is_dir() for folder in lifted] == [False, False, True, True]
    assert len(list((history.store / "keypoints").glob("[!.]*"))) == 2
    assert removed(old)


def test_imported_benchmarks_and_the_last_scores_are_kept_without_the_models_that_were_scored(history):
    old = history.pipeline()
    weights = file_digest(old.folders["finetune"] / "model.safetensors")
    imported = history.stage(None, "benchmarks", "benchmark", {"source": "0"}, 0, 0)
    inputs = {"benchmark": imported.name, "checkpoint": weights}
    scores = [history.stage(None, "scores", "score", inputs, number / 10, number) for number in range(3)]
    runs = [finished_run(history.client, score.name) for score in scores]
    [history.pipeline() for _ in range(2)]
    collect(history.store, 2, dry_run=False)
    assert imported.is_dir()
    assert [score.is_dir() for score in scores] == [False, True, True]
    assert [run in history.run_ids() for run in runs] == [False, True, True]
    assert removed(old)


def test_a_store_without_pipeline_runs_keeps_its_last_keypoints(history):
    folders = [history.stage(None, "keypoints", "keypoints", {"source": str(n)}, n, 0) for n in range(4)]
    collect(history.store, 3, dry_run=False)
    assert [folder.is_dir() for folder in folders] == [False, True, True, True]
    assert len(history.run_ids()) == 3


def test_runs_and_versions_of_another_store_in_the_same_mlflow_are_kept(new_store, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{new_store('mlflow') / 'mlflow.db'}")
    here, there = History(new_store("here")), History(new_store("there"))
    of_here = [here.pipeline() for _ in range(3)]
    there.source = "6" * 64
    of_there = [there.pipeline() for _ in range(3)]
    collect(here.store, 1, dry_run=False)
    assert all(map(there.whole, of_there))
    assert [here.whole(run) for run in of_here] == [False, False, True]
    assert all(map(removed, of_here[:2]))


def test_another_mlflow_than_that_of_the_pipeline_runs_is_refused(history, new_store, monkeypatch):
    runs = [history.pipeline() for _ in range(3)]
    elsewhere = f"sqlite:///{new_store('elsewhere') / 'mlflow.db'}"
    History(new_store("third"))  # has the experiment
    for dry_run in (True, False):
        with monkeypatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", elsewhere)
            with pytest.raises(InputError, match=r"has no run of|has no experiment"):
                collect(history.store, 1, dry_run=dry_run)
        with pytest.raises(InputError, match="no such store"):
            collect(history.store / "absent", 1, dry_run=dry_run)
        database = history.store / "mlflow.db"
        database.rename(history.store / "away.db")
        with pytest.raises(InputError, match="does not exist; set MLFLOW_TRACKING_URI"):
            collect(history.store, 1, dry_run=dry_run)
        database.with_name("away.db").rename(database)
    assert all(map(history.whole, runs))


def test_gc_removes_nothing_if_mlflow_cannot_be_read(history, monkeypatch):
    runs = [history.pipeline() for _ in range(3)]

    def locked(*_, **__):
        raise MlflowException("database is locked")

    for method in (
        "search_runs",
        "search_logged_models",
        "search_model_versions",
        "get_registered_model",
        "get_experiment_by_name",
    ):
        with monkeypatch.context() as patch:
            patch.setattr(MlflowClient, method, locked)
            with pytest.raises(InputError, match="database is locked; gc has removed nothing"):
                collect(history.store, 1, dry_run=False)
    assert all(map(history.whole, runs))


@pytest.mark.parametrize("size", [0, 5_000, 200_000])
def test_a_truncated_database_is_refused_in_one_line_and_nothing_is_removed(history, size):
    [history.pipeline() for _ in range(2)]
    database = history.store / "mlflow.db"
    database.write_bytes(database.read_bytes()[:size])
    before = files_below(history.store)
    for dry_run in (True, False):
        began = time.monotonic()
        with pytest.raises(InputError) as error:
            collect(history.store, 1, dry_run=dry_run)
        assert "mlflow.db" in str(error.value)
        assert "\n" not in str(error.value)
        assert time.monotonic() - began < 30
    assert files_below(history.store) == before


def test_a_folder_with_a_damaged_manifest_is_named_and_nothing_is_removed(history):
    runs = [history.pipeline() for _ in range(3)]
    manifest = runs[2].folders["finetune"] / MANIFEST
    manifest.write_text(manifest.read_text().replace("finetune", "finetuned"))
    with pytest.raises(InputError, match=str(runs[2].folders["finetune"])):
        collect(history.store, 1, dry_run=False)
    assert runs[0].folders["finetune"].is_dir()


@pytest.mark.parametrize("kind", ["pipelines", "runs", "motions"])
def test_every_result_is_kept_while_a_process_works_in_the_store(history, kind):
    runs = [history.pipeline(windows_seed=day) for day in range(3)]
    (history.store / kind).mkdir(exist_ok=True)
    with locked(history.store / kind / f".{'e' * 16}.lock", "a process"):
        outcome = collect(history.store, 1, dry_run=False)
        assert len(outcome["busy"]) == 1
        assert all(map(history.whole, runs))  # the process may read them, and register their weights again
        assert outcome["items"] == []
    assert not collect(history.store, 1, dry_run=False)["busy"]
    assert [removed(run) for run in runs] == [True, True, False]


def test_keypoints_are_kept_while_a_process_lifts_in_a_store_without_pipeline_runs(history):
    folders = [history.stage(None, "keypoints", "keypoints", {"source": str(n)}, n, 0) for n in range(3)]
    (history.store / "motions").mkdir(exist_ok=True)
    with locked(history.store / "motions" / f".{'e' * 16}.lock", "a lift"):
        collect(history.store, 1, dry_run=False)
    assert all(folder.is_dir() for folder in folders)
