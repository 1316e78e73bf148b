"""What is needed stays, to the last byte; what is not goes, from the store and from MLflow."""

import json

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from data_contracts.errors import InputError
from data_contracts.store.digests import file_digest
from data_contracts.store.locks import hold
from data_contracts.store.manifests import MANIFEST
from tasks.cleaning.gc import collect
from tasks.mlflow_runs.names import BENCHMARK_TAG, MODEL_NAME, PROMOTION_TAG
from tests.tasks.cleaning.history import FIRST_DAY, History, files_below

TRAINED = ("pretrain", "finetune", "evaluate")  # what each night makes anew; the rest is cached


def gone(night) -> bool:
    """Of what a night alone had nothing is left."""
    return not any(night.folders[stage].exists() for stage in TRAINED)


def test_the_last_nights_stay_whole_and_of_the_others_nothing_is_left(history):
    nights = [history.night() for _ in range(5)]
    assert all(map(history.whole, nights))
    outcome = collect(history.store, 2)
    assert [history.whole(night) for night in nights] == [False, False, False, True, True]
    assert all(map(gone, nights[:3]))
    assert nights[0].folders["convert"].is_dir()  # cached by every night
    assert history.versions() == {night.version for night in nights[3:]}
    assert history.model_ids() == {night.model for night in nights[3:]}
    for night in nights[:3]:
        assert not {night.run, *(night.runs[stage] for stage in TRAINED)} & history.run_ids()
    left = files_below(history.store)
    assert not [path for night in nights[:3] for path in left if night.model in path or night.run in path]
    assert outcome["since"] == FIRST_DAY.timestamp() + 3 * 86_400
    assert outcome["removed"]["runs"]["count"] == 6
    assert collect(history.store, 2)["items"] == []  # a second finds nothing


def test_a_dry_run_lists_with_sizes_what_a_removal_then_removes_and_touches_nothing(history):
    [history.night() for _ in range(3)]
    before = files_below(history.store)
    told = collect(history.store, 1, dry_run=True)
    assert files_below(history.store) == before
    assert told["removed"]["runs"]["bytes"] > 100
    assert told["removed"]["MLflow models"]["bytes"] == 2 * 64
    assert told["bytes"] == sum(item["bytes"] or 0 for item in told["items"])
    done = collect(history.store, 1)
    assert done["items"] == told["items"]


def test_a_version_with_an_alias_stays_with_all_that_it_comes_from_and_was_scored_on(history):
    nights = [history.night(windows_seed=day) for day in range(5)]
    history.crown(nights[0])
    history.crown(nights[2], "previous")
    collect(history.store, 1)
    for night, stays in zip(nights, (True, False, True, False, True), strict=True):
        assert (night.version in history.versions()) == (night.model in history.model_ids()) == stays
        for stage in ("convert", "pretrain", "finetune", "baselines", "evaluate"):
            assert (night.folders[stage] / MANIFEST).is_file() == stays, stage
            assert (night.runs[stage] in history.run_ids()) == stays, stage
        assert (night.folders["ingest"] / MANIFEST).is_file()


def test_a_cached_night_needs_what_an_old_one_made(history):
    first = history.night(seed=7)
    others = [history.night() for _ in range(3)]
    again = history.night(seed=7)
    collect(history.store, 1)
    assert again.folders["finetune"] == first.folders["finetune"]
    assert history.whole(again)
    assert [gone(night) for night in others] == [True, True, False]  # the third's is the last version
    assert first.run not in history.run_ids()


def test_the_windows_of_the_benchmark_stay(history):
    nights = [history.night(windows_seed=day) for day in range(3)]
    history.client.set_registered_model_tag(MODEL_NAME, BENCHMARK_TAG, nights[0].digests["convert"])
    collect(history.store, 1)
    assert [night.folders["convert"].is_dir() for night in nights] == [True, False, True]
    assert nights[0].folders["baselines"].is_dir()
    assert gone(nights[0])


def test_what_was_made_since_the_oldest_kept_night_began_stays_by_whomever(history):
    old, *_ = [history.night(windows_seed=day) for day in range(3)]
    by_hand = history.stage(None, "runs", "pretrain", {"windows": old.digests["convert"]}, 2.2, 99)
    failed = history.run("pretrain", "0" * 16, {"windows": old.digests["convert"]}, 2.5, "FAILED")
    older = history.run("pretrain", "1" * 16, {}, 1.5, "FAILED")
    collect(history.store, 1)
    assert by_hand.is_dir()
    assert old.folders["convert"].is_dir()  # what it was trained on
    assert failed in history.run_ids()
    assert older not in history.run_ids()


def test_of_a_store_with_fewer_nights_everything_stays(history):
    nights = [history.night() for _ in range(3)]
    assert set(collect(history.store, 4)["removed"]) <= {"lock files"}
    assert all(map(history.whole, nights))


def test_a_decision_about_a_kept_version_stays(history):
    nights = [history.night() for _ in range(4)]
    about = [
        history.run("promote", "", {}, 0.5, **{PROMOTION_TAG: f"{challenger.version}-{rival}"})
        for challenger, rival in ((nights[0], "baselines"), (nights[1], nights[0].version), (nights[3], "baselines"))
    ]
    collect(history.store, 1)
    assert [run in history.run_ids() for run in about] == [False, False, True]


def test_the_last_keypoints_and_motions_stay_without_the_models_that_lifted_them(history):
    old = history.night()
    weights = file_digest(old.folders["finetune"] / "model.safetensors")
    lifted = []
    for number in range(4):
        tracks = history.stage(None, "keypoints", "keypoints", {"source": str(number)}, number / 10, 0)
        lifted.append(
            history.stage(None, "motions", "lift", {"keypoints": tracks.name, "checkpoint": weights}, number / 10, 0)
        )
    [history.night() for _ in range(2)]
    collect(history.store, 2)
    assert [folder.is_dir() for folder in lifted] == [False, False, True, True]
    assert len(list((history.store / "keypoints").glob("[!.]*"))) == 2
    assert gone(old)


def test_a_store_that_only_lifts_keeps_its_last_motions(history):
    folders = [history.stage(None, "keypoints", "keypoints", {"source": str(n)}, n, 0) for n in range(4)]
    collect(history.store, 3)
    assert [folder.is_dir() for folder in folders] == [False, True, True, True]
    assert len(history.run_ids()) == 3


def test_runs_and_versions_of_another_store_in_the_same_mlflow_stay(new_store, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{new_store('mlflow') / 'mlflow.db'}")
    here, there = History(new_store("here")), History(new_store("there"))
    of_here = [here.night() for _ in range(3)]
    there.source = "6" * 64
    of_there = [there.night() for _ in range(3)]
    collect(here.store, 1)
    assert [here.whole(night) for night in of_here] == [False, False, True]
    assert all(map(there.whole, of_there))


def test_another_mlflow_than_the_nights_is_refused(history, new_store, monkeypatch):
    nights = [history.night() for _ in range(3)]
    elsewhere = f"sqlite:///{new_store('elsewhere') / 'mlflow.db'}"
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", elsewhere)
        with pytest.raises(InputError, match="knows no run of"):
            collect(history.store, 1)
    with pytest.raises(InputError, match="no such store"):
        collect(history.store / "absent", 1)
    database = history.store / "mlflow.db"
    database.rename(history.store / "away.db")
    with pytest.raises(InputError, match="MLFLOW_TRACKING_URI names none"):
        collect(history.store, 1)
    database.with_name("away.db").rename(database)
    assert all(map(history.whole, nights))


def test_an_mlflow_that_cannot_be_asked_is_no_mlflow_that_needs_nothing(history, monkeypatch):
    nights = [history.night() for _ in range(3)]

    def locked(*_):
        raise MlflowException("database is locked")

    for client, method in (
        (MlflowClient, "search_runs"),
        (MlflowClient, "search_logged_models"),
        (MlflowClient, "search_model_versions"),
        (MlflowClient, "get_registered_model"),
        (MlflowClient, "get_experiment_by_name"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(client, method, lambda *_, **__: locked())
            with pytest.raises((InputError, MlflowException), match="database is locked"):
                collect(history.store, 1)
    assert all(map(history.whole, nights))


def test_a_damaged_folder_of_which_nobody_knows_what_it_was_made_from_is_named_and_nothing_is_removed(history):
    nights = [history.night() for _ in range(3)]
    manifest = nights[2].folders["finetune"] / MANIFEST
    manifest.write_text(manifest.read_text().replace("finetune", "finetuned"))
    collect(history.store, 1, dry_run=True)  # its run in MLflow knows
    history.client.delete_tag(nights[2].runs["finetune"], "uplift.inputs")
    with pytest.raises(InputError, match=str(nights[2].folders["finetune"])):
        collect(history.store, 1)
    assert nights[0].folders["finetune"].is_dir()


def test_all_that_a_pipeline_at_work_may_ask_for_stays(history):
    nights = [history.night(windows_seed=day) for day in range(3)]
    other = history.folder("clips", "ingest", {"source": "6" * 64}, 0)
    begun = history.run("pipeline", "f" * 16, {"source": history.source}, 5, "RUNNING")
    (history.store / "pipelines").mkdir()
    with hold(history.store / "pipelines" / f".{begun}.lock", "a pipeline"):
        collect(history.store, 1)
        assert not any(map(gone, nights))
        assert history.versions() == {night.version for night in nights}  # it may find their weights, too
        assert not other.exists()  # of another source
    collect(history.store, 1)
    assert [gone(night) for night in nights] == [True, True, False]


def test_while_a_stage_is_at_work_of_which_nobody_knows_its_inputs_no_folder_goes(history):
    nights = [history.night() for _ in range(3)]
    with hold(history.store / "runs" / f".{'e' * 16}.lock", "a stage"):
        assert collect(history.store, 1)["at_work"]
        assert not any(map(gone, nights))
        assert json.loads((nights[0].folders["pretrain"] / MANIFEST).read_text())
    assert not collect(history.store, 1)["at_work"]
    assert gone(nights[0])
