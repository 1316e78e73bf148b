"""gc keeps everything that is needed and removes the rest from the store and from MLflow."""

import shutil

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from data_contracts.errors import InputError
from data_contracts.store.digests import file_digest
from data_contracts.store.locks import locked
from data_contracts.store.manifests import MANIFEST
from tasks.maintenance.gc import collect
from tasks.tracking.names import BENCHMARK_TAG, MODEL_NAME, PARENT_TAG, PROMOTION_TAG
from tests.tasks.maintenance.history import History, files_below

TRAINED = ("pretrain", "finetune", "evaluate")  # stages that each pipeline run computes


def removed(run) -> bool:
    """Return whether all folders that only this pipeline run has made are gone."""
    return not any(run.folders[stage].exists() for stage in TRAINED)


def test_a_dry_run_is_the_default_and_lists_what_gc_then_removes_completely(three):
    first, second, third = three.pipelines
    before = files_below(three.store)
    listed = collect(three.store, 1)
    assert files_below(three.store) == before
    assert listed["dry_run"]
    kinds = [item["kind"] for item in listed["items"]]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "windows": 1,
        "runs": 4,
        "baselines": 1,
        "reports": 2,
        "MLflow versions": 2,
        "MLflow runs": 3 + 6,
    }
    (tuned,) = [item for item in listed["items"] if item["name"].endswith(second.runs["finetune"])]
    assert tuned["bytes"] == len("seen") + 64  # its page and the weights of its LoggedModel

    done = collect(three.store, 1, dry_run=False)
    assert done["items"] == listed["items"]
    assert done["notes"] == []
    assert three.whole(third)
    assert first.folders["convert"].is_dir()  # the third run uses it
    assert three.versions() == {third.version}
    assert three.model_ids() == {third.model}
    assert three.left_of(second) == []
    assert not {run.runs[stage] for run in (first, second) for stage in TRAINED} & three.run_ids()
    assert collect(three.store, 1, dry_run=False)["items"] == []


def test_a_version_with_an_alias_is_kept_with_everything_it_comes_from_and_was_scored_on(three):
    champion, kept = three.pipelines[1], three.pipeline()
    three.crown(champion)
    collect(three.store, 1, dry_run=False)
    assert three.versions() == {champion.version, kept.version}
    assert three.model_ids() == {champion.model, kept.model}
    for stage in ("ingest", "convert", "pretrain", "finetune", "baselines", "evaluate"):
        assert (champion.folders[stage] / MANIFEST).is_file(), stage
        assert champion.runs[stage] in three.run_ids(), stage
    assert removed(three.pipelines[0])
    assert removed(three.pipelines[2])


def test_results_made_while_the_clock_was_back_are_newer_than_those_before(three):
    three.clock_days = -400.0
    tracks = [three.stage(None, "keypoints", "keypoints", {"source": str(n)}, 3 + n / 10, 0) for n in range(2)]
    kept = three.pipeline()
    three.clock_days = 0
    tracks.append(three.stage(None, "keypoints", "keypoints", {"source": "9"}, 2.5, 0))
    collect(three.store, 1, dry_run=False)
    assert three.whole(kept)
    assert all(map(removed, three.pipelines[:3]))
    assert [folder.is_dir() for folder in tracks] == [True, True, False]


def test_a_cached_pipeline_run_keeps_the_results_of_an_old_one(three):
    first, second, third = three.pipelines
    again = three.pipeline(seed=0)
    collect(three.store, 1, dry_run=False)
    assert again.folders["finetune"] == first.folders["finetune"]
    assert three.whole(again)
    assert [removed(run) for run in (second, third)] == [True, False]  # the third has the last version
    assert [run.run in three.run_ids() for run in (first, second, third)] == [True, False, True]


def test_a_pipeline_run_stays_in_mlflow_as_long_as_one_of_its_stages(three):
    first, second, third = three.pipelines
    collect(three.store, 1, dry_run=False)
    assert [run.run in three.run_ids() for run in (first, second, third)] == [True, False, True]
    parents = {run.data.tags.get(PARENT_TAG) for run in three.client.search_runs([three.experiment])}
    assert parents - {None} <= three.run_ids()
    three.pipeline(windows_seed=1)
    three.client.set_tag(first.runs["ingest"], PARENT_TAG, third.run)  # the last stage of the first in use
    collect(three.store, 1, dry_run=False)
    assert first.run not in three.run_ids()
    assert third.run in three.run_ids()


def test_the_windows_of_the_benchmark_are_kept_with_their_baselines(three):
    second = three.pipelines[1]
    three.client.set_registered_model_tag(MODEL_NAME, BENCHMARK_TAG, second.digests["convert"])
    shutil.copytree(second.folders["finetune"], three.store / "backup" / "finetune")
    collect(three.store, 1, dry_run=False)
    assert second.folders["convert"].is_dir()
    assert second.folders["baselines"].is_dir()
    assert removed(second)
    assert (three.store / "backup" / "finetune" / MANIFEST).is_file()  # gc looks at the folders of stages only


def test_everything_since_the_start_of_the_oldest_kept_pipeline_run_is_kept(three):
    windows = three.pipelines[1].digests["convert"]
    by_hand = three.stage(None, "runs", "pretrain", {"windows": windows}, 2.2, 99)
    failed = three.run("pretrain", "b" * 16, {"windows": windows}, 2.5, "FAILED")
    older = three.run("pretrain", "a" * 16, {}, 0.5, "FAILED")
    partials = [three.store / kind / f".{digest * 16}.partial" for kind, digest in (("runs", "b"), ("runs", "a"))]
    partials.append(three.store / "windows" / f".{'c' * 16}.partial")  # not a training: no run resumes it
    for folder in partials:
        folder.mkdir()
        (folder / "last.safetensors").write_text("half")
    collect(three.store, 1, dry_run=False)
    assert by_hand.is_dir()
    assert three.pipelines[1].folders["convert"].is_dir()  # both trainings read it
    assert removed(three.pipelines[1])
    assert failed in three.run_ids()
    assert older not in three.run_ids()
    assert [folder.exists() for folder in partials] == [True, False, False]


def test_a_store_with_fewer_pipeline_runs_keeps_everything(three):
    outcome = collect(three.store, 4, dry_run=False)
    assert outcome["items"] == []
    assert "fewer than 4 finished pipeline runs" in outcome["notes"][0]
    assert all(map(three.whole, three.pipelines))


def test_a_decision_about_a_kept_version_is_kept(three):
    first, second, third = three.pipelines
    about = [
        three.run("promote", "", {}, 0.5, **{PROMOTION_TAG: f"{challenger.version}-{other}"})
        for challenger, other in ((first, "baselines"), (second, first.version), (third, "baselines"))
    ]
    collect(three.store, 1, dry_run=False)
    assert [run in three.run_ids() for run in about] == [False, False, True]


def test_imports_and_the_last_keypoints_motions_and_scores_are_kept_with_what_they_were_made_from(three):
    first, second, _ = three.pipelines
    weights = [file_digest(run.folders["finetune"] / "model.safetensors") for run in (first, second)]
    imported = three.stage(None, "benchmarks", "benchmark", {"source": "0"}, 0, 0)
    lifted, scores = [], []
    for number in range(3):
        tracks = three.stage(None, "keypoints", "keypoints", {"source": str(number)}, number / 10, 0)
        inputs = {"keypoints": tracks.name, "checkpoint": weights[number > 0]}
        lifted.append(three.stage(None, "motions", "lift", inputs, number / 10, 0))
        inputs = {"benchmark": imported.name, "checkpoint": weights[1]}
        scores.append(three.stage(None, "scores", "score", inputs, number / 10, number))
    three.pipeline()
    collect(three.store, 2, dry_run=False)
    assert imported.is_dir()
    assert [folder.is_dir() for folder in lifted] == [False, True, True]
    assert [folder.is_dir() for folder in scores] == [False, True, True]
    assert len(list((three.store / "keypoints").glob("[!.]*"))) == 2
    assert removed(first)
    assert three.whole(second)  # the last motions were lifted by its model


def test_runs_and_versions_of_another_store_in_the_same_mlflow_are_kept(new_store, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{new_store('mlflow') / 'mlflow.db'}")
    here, there = History(new_store("here")), History(new_store("there"))
    of_here = [here.pipeline() for _ in range(2)]
    there.source = "6" * 64
    of_there = [there.pipeline() for _ in range(2)]
    collect(here.store, 1, dry_run=False)
    assert all(map(there.whole, of_there))
    assert [here.whole(run) for run in of_here] == [False, True]
    assert removed(of_here[0])


def test_another_mlflow_than_that_of_the_pipeline_runs_is_refused(three, new_store, monkeypatch):
    elsewhere = new_store("elsewhere")
    for dry_run in (True, False):
        with monkeypatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere / 'mlflow.db'}")
            with pytest.raises(InputError, match="has no run of"):
                collect(three.store, 1, dry_run=dry_run)
        with pytest.raises(InputError, match=r"absent/mlflow\.db does not exist"):
            collect(three.store / "absent", 1, dry_run=dry_run)
        database = three.store / "mlflow.db"
        database.rename(three.store / "away.db")
        with pytest.raises(InputError, match="does not exist; set MLFLOW_TRACKING_URI"):
            collect(three.store, 1, dry_run=dry_run)
        database.with_name("away.db").rename(database)
    assert all(map(three.whole, three.pipelines))


def test_gc_removes_nothing_if_mlflow_or_a_manifest_cannot_be_read(three, monkeypatch):
    before = files_below(three.store)

    def locked_database(*_, **__):
        raise MlflowException("database is locked")

    for method in (
        "search_runs",
        "search_logged_models",
        "search_model_versions",
        "get_registered_model",
        "get_experiment_by_name",
    ):
        with monkeypatch.context() as patch:
            patch.setattr(MlflowClient, method, locked_database)
            with pytest.raises(InputError, match="database is locked; gc has removed nothing"):
                collect(three.store, 1, dry_run=False)
    assert files_below(three.store) == before

    folder = three.pipelines[2].folders["finetune"]
    manifest = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(manifest.replace("finetune", "finetuned"))
    with pytest.raises(InputError, match=str(folder)):
        collect(three.store, 1, dry_run=False)
    (folder / MANIFEST).write_text(manifest)
    assert files_below(three.store) == before


def test_a_truncated_database_is_refused_in_one_line_and_nothing_is_removed(three):
    database = three.store / "mlflow.db"
    database.write_bytes(database.read_bytes()[:200_000])
    before = files_below(three.store)
    for dry_run in (True, False):
        with pytest.raises(InputError) as error:
            collect(three.store, 1, dry_run=dry_run)
        assert "mlflow.db" in str(error.value)
        assert "\n" not in str(error.value)
    assert files_below(three.store) == before


def test_gc_removes_nothing_while_a_process_works_in_the_store(three):
    before = files_below(three.store)
    for kind in ("pipelines", "runs", "motions"):
        (three.store / kind).mkdir(exist_ok=True)
        lock = three.store / kind / f".{'e' * 16}.lock"
        with locked(lock, "a process"):  # it may read all results, and register their weights again
            outcome = collect(three.store, 1, dry_run=False)
        assert outcome["items"] == []
        assert "while a process works in the store: process " in outcome["notes"][0]
        lock.unlink()
    assert files_below(three.store) == before
    collect(three.store, 1, dry_run=False)
    assert [removed(run) for run in three.pipelines] == [True, True, False]
