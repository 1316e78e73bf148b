"""Models are compared by what the store knows of them, on the same windows or not at all."""

import json
import time

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from data_contracts.comparison import verdict
from data_contracts.errors import InputError
from data_contracts.parameters import EvaluateParameters, FinetuneParameters
from data_contracts.report import METHODS, REPORT_FILE, SCORE_COLUMNS, MethodScores, Report, Resampling, write_errors
from data_contracts.store.digests import StageKey
from data_contracts.store.folders import CHECKPOINT_FILE, open_stage
from data_contracts.store.manifests import read_manifest, write_json
from flows.terminal.comparing import comparison_tables
from model.scoring.intervals import estimates
from tasks.evaluate.compare import compare, find_reports


def table(better_mm=0.0, people=6):
    """Errors of people who differ widely, all by `better_mm` lower, the last person's higher instead."""
    random = np.random.default_rng(0)
    person = np.repeat(np.arange(people), 40)
    error = 60 + 15 * random.normal(size=people)[person] + random.normal(size=len(person))
    error = error + np.where(person == people - 1, 1, -1) * better_mm + 0.01 * random.normal(size=len(person))
    shares = {"pck_150": 1 - error / 1000, "auc_150": 1 - error / 500}
    return pd.DataFrame(
        {
            "window_id": [f"w{number}" for number in range(len(person))],
            "clip_id": np.arange(len(person)) // 10,
            "group": [f"P{number}" for number in person],
            "action": "walking",
            "camera": 0,
            "yaw_deg": 10.0,
        }
        | dict.fromkeys(("frames", "weight", "pair_weight", "triple_weight"), 9.0)
        | dict.fromkeys(SCORE_COLUMNS, error)
        | shares
    )


def write_report(store, checkpoint, errors, windows="w" * 16, flip=True):
    """An evaluate stage's folder of a model with that checkpoint."""
    inputs = {"windows": windows, "checkpoint": checkpoint, "baselines": "b"}
    scores = MethodScores(**dict(estimates(errors, Resampling(resamples=100))), pck_curve=())
    with open_stage(store, StageKey("reports", "evaluate", EvaluateParameters(flip=flip), inputs)) as stage:
        report = Report(
            split="test",
            windows=len(errors),
            frames=9 * len(errors),
            people=6,
            clips=24,
            digests={"report": stage.digest, **inputs},
            model_uri=f"models:/m-{checkpoint}",
            versions={},
            resampling=Resampling(resamples=100),
            ridge_penalty=1,
            **dict.fromkeys(METHODS, scores),
        )
        write_json(stage.folder / REPORT_FILE, report.model_dump(mode="json"))
        write_errors(stage.folder, dict.fromkeys(METHODS, errors))
    return stage.folder


def write_run(store, name):
    with open_stage(store, StageKey("runs", "finetune", FinetuneParameters(), {"windows": name})) as stage:
        (stage.folder / CHECKPOINT_FILE).write_text(name)
    return stage.folder


def test_a_small_difference_shared_by_people_is_certain_and_one_of_few_people_is_not(tmp_path):
    first = write_report(tmp_path, "first", table())
    second = write_report(tmp_path, "second", table().assign(mpjpe_mm=lambda errors: errors["mpjpe_mm"] - 0.3))
    third = write_report(tmp_path, "third", table(better_mm=2))
    beside = compare(tmp_path, [first.name, second.name, str(third)])
    one, two, three = beside.models
    assert one.difference is None
    assert two.difference.mpjpe_mm.value == pytest.approx(-0.3, abs=1e-3)
    assert (two.difference.mpjpe_mm.over, two.difference.mpjpe_mm.units) == ("people", 6)
    assert verdict("mpjpe_mm", two.difference.mpjpe_mm) == "better"
    low, high = one.scores.mpjpe_mm.interval
    assert low < two.scores.mpjpe_mm.value < high  # each on its own, they cannot be told apart
    assert two.scores.mpjpe_mm.value - one.scores.mpjpe_mm.value == pytest.approx(
        two.difference.mpjpe_mm.value, abs=1e-3
    )
    assert verdict("mpjpe_mm", three.difference.mpjpe_mm) == "not certain"
    assert verdict("mpjpe_mm", three.difference.per_group_mm["P5"]) == "worse"
    assert three.difference.per_group_mm["P5"].value == pytest.approx(2, abs=0.01)
    assert verdict("pck_150", two.difference.mpjpe_mm) == "worse"  # of a share, more is better


def test_a_run_stands_for_the_latest_report_of_its_weights_on_windows_that_all_were_scored_on(tmp_path):
    runs = [write_run(tmp_path, name) for name in ("one", "two")]
    first, second = (read_manifest(run)["files"][CHECKPOINT_FILE] for run in runs)
    shared = [write_report(tmp_path, first, table()), write_report(tmp_path, second, table())]
    time.sleep(1.1)  # manifests tell time in seconds
    latest = write_report(tmp_path, first, table(), windows="z" * 16)
    assert find_reports(tmp_path, [run.name for run in runs]) == shared
    assert find_reports(tmp_path, [str(runs[0] / CHECKPOINT_FILE), shared[1].name]) == shared
    assert find_reports(tmp_path, [str(runs[0]), runs[0].name]) == [latest, latest]


def test_scores_on_other_windows_are_refused_with_what_would_make_them_comparable(tmp_path):
    first = write_report(tmp_path, "first", table(), windows="a" * 16)
    second = write_report(tmp_path, "second", table(), windows="b" * 16)
    with pytest.raises(InputError) as refusal:
        compare(tmp_path, [first.name, second.name])
    said = str(refusal.value)
    assert f"{first.name} on {'a' * 16} (test); {second.name} on {'b' * 16} (test)" in said
    assert f"uplift evaluate {'a' * 16} --model models:/m-second --set evaluate.split=test" in said


def test_what_cannot_be_compared_is_refused(tmp_path):
    run, report = write_run(tmp_path, "one"), write_report(tmp_path, "first", table())
    with pytest.raises(InputError, match="two models or more"):
        compare(tmp_path, [report.name])
    with pytest.raises(InputError, match=rf"no report of it: uplift evaluate WINDOWS --model {run.name}"):
        compare(tmp_path, [report.name, run.name])
    with pytest.raises(InputError, match="no finished stage folder"):
        compare(tmp_path, [report.name, "abc"])


def test_mlflow_is_asked_for_a_run_it_knows_and_one_it_does_not(empty_store):
    from tasks.tracking.runs import DIGEST_TAG, connect

    report = write_report(empty_store, "first", table())
    client = connect(empty_store)
    experiment = client.get_experiment_by_name("pose-uplift").experiment_id
    stage = client.create_run(experiment, tags={DIGEST_TAG: report.name}).info.run_id
    pipeline = client.create_run(experiment, tags={DIGEST_TAG: "p", "uplift.evaluate.digest": report.name}).info.run_id
    assert find_reports(empty_store, [stage, pipeline]) == [report, report]
    with pytest.raises(InputError, match="MLflow has no such run"):
        find_reports(empty_store, [stage, "0" * 32])


def test_a_person_reads_scores_differences_and_where_they_lie(tmp_path, capsys):
    names = [write_report(tmp_path, "first", table()).name, write_report(tmp_path, "third", table(better_mm=2)).name]
    beside = compare(tmp_path, names)
    Console(width=160, markup=False).print(*comparison_tables(beside))
    shown = capsys.readouterr().out
    assert "240 windows of wwwwwwwwwwwwwwww, split test" in shown
    assert "95% interval over 6 people" in shown
    assert "not certain" in shown
    assert "person P5" in shown
    assert shown.index("person P5") < shown.index("person P0")  # the worst first
    assert (
        json.loads(json.dumps(beside.model_dump(mode="json")))["contenders"][1]["difference"]["mpjpe_mm"]["units"] == 6
    )
