"""Tests of comparing models by their reports in the store."""

import json
import time

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from data_contracts.errors import InputError
from data_contracts.parameters import EvaluateParameters, FinetuneParameters
from data_contracts.report import (
    METHODS,
    REPORT_FILE,
    SCORE_COLUMNS,
    MethodScores,
    Report,
    Resampling,
    verdict,
    write_errors,
)
from data_contracts.store.digests import StageKey
from data_contracts.store.folders import CHECKPOINT_FILE, open_stage
from data_contracts.store.manifests import read_manifest, write_json
from flows.terminal.printing import comparison_tables
from model.scoring.intervals import estimates
from tasks.evaluate.compare import compare, find_reports


def table(better_mm=0.0, people=6):
    """Return errors of subjects who differ widely: `better_mm` lower, but higher for the last subject."""
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
    """Write the folder of an evaluate stage for a model with that checkpoint."""
    inputs = {"windows": windows, "checkpoint": checkpoint, "baselines": "b"}
    scores = MethodScores(**dict(estimates(errors, Resampling(resamples=100))), pck_curve=())
    with open_stage(store, StageKey("reports", "evaluate", EvaluateParameters(flip=flip), inputs)) as stage:
        report = Report(
            projection="perspective",
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


def test_a_small_difference_is_certain_only_if_all_subjects_share_it(tmp_path):
    first = write_report(tmp_path, "first", table())
    second = write_report(tmp_path, "second", table().assign(mpjpe_mm=lambda errors: errors["mpjpe_mm"] - 0.3))
    third = write_report(tmp_path, "third", table(better_mm=2))
    comparison = compare(tmp_path, [first.name, second.name, str(third)])
    one, two, three = comparison.models
    assert one.difference is None
    assert two.difference.mpjpe_mm.value == pytest.approx(-0.3, abs=1e-3)
    assert (two.difference.mpjpe_mm.over, two.difference.mpjpe_mm.units) == ("people", 6)
    assert verdict("mpjpe_mm", two.difference.mpjpe_mm) == "better"
    low, high = one.scores.mpjpe_mm.interval
    assert low < two.scores.mpjpe_mm.value < high  # the intervals of the two models overlap
    assert two.scores.mpjpe_mm.value - one.scores.mpjpe_mm.value == pytest.approx(
        two.difference.mpjpe_mm.value, abs=1e-3
    )
    assert verdict("mpjpe_mm", three.difference.mpjpe_mm) == "not certain"
    assert verdict("mpjpe_mm", three.difference.per_group_mm["P5"]) == "worse"
    assert three.difference.per_group_mm["P5"].value == pytest.approx(2, abs=0.01)
    assert verdict("pck_150", two.difference.mpjpe_mm) == "worse"  # for a share, more is better


def test_a_run_is_compared_by_its_latest_report_on_shared_windows(tmp_path):
    runs = [write_run(tmp_path, name) for name in ("one", "two")]
    first, second = (read_manifest(run)["files"][CHECKPOINT_FILE] for run in runs)
    shared = [write_report(tmp_path, first, table()), write_report(tmp_path, second, table())]
    time.sleep(1.1)  # manifests have a time resolution of one second
    latest = write_report(tmp_path, first, table(), windows="z" * 16)
    assert find_reports(tmp_path, [run.name for run in runs]) == shared
    assert find_reports(tmp_path, [str(runs[0] / CHECKPOINT_FILE), shared[1].name]) == shared
    assert find_reports(tmp_path, [str(runs[0]), runs[0].name]) == [latest, latest]


def test_the_error_for_different_windows_has_the_command_that_adds_a_report(tmp_path):
    first = write_report(tmp_path, "first", table(), windows="a" * 16)
    second = write_report(tmp_path, "second", table(), windows="b" * 16)
    with pytest.raises(InputError) as raised:
        compare(tmp_path, [first.name, second.name])
    message = str(raised.value)
    assert f"{first.name} on {'a' * 16} (test); {second.name} on {'b' * 16} (test)" in message
    assert f"uplift evaluate {'a' * 16} --model models:/m-second --set evaluate.split=test" in message


def test_references_without_a_report_are_rejected(tmp_path):
    run, report = write_run(tmp_path, "one"), write_report(tmp_path, "first", table())
    with pytest.raises(InputError, match="at least two models"):
        compare(tmp_path, [report.name])
    with pytest.raises(InputError, match=rf"no report of this model; run uplift evaluate WINDOWS --model {run.name}"):
        compare(tmp_path, [report.name, run.name])
    with pytest.raises(InputError, match="no finished stage folder"):
        compare(tmp_path, [report.name, "abc"])


def test_mlflow_run_ids_of_stages_and_pipelines_are_accepted(empty_store):
    from tasks.tracking.runs import DIGEST_TAG, connect

    report = write_report(empty_store, "first", table())
    client = connect(empty_store)
    experiment = client.get_experiment_by_name("pose-uplift").experiment_id
    stage = client.create_run(experiment, tags={DIGEST_TAG: report.name}).info.run_id
    pipeline = client.create_run(experiment, tags={DIGEST_TAG: "p", "uplift.evaluate.digest": report.name}).info.run_id
    assert find_reports(empty_store, [stage, pipeline]) == [report, report]
    with pytest.raises(InputError, match="MLflow does not contain this run"):
        find_reports(empty_store, [stage, "0" * 32])


def test_the_tables_show_scores_differences_and_the_worst_subjects_first(tmp_path, capsys):
    names = [write_report(tmp_path, "first", table()).name, write_report(tmp_path, "third", table(better_mm=2)).name]
    comparison = compare(tmp_path, names)
    Console(width=160, markup=False).print(*comparison_tables(comparison))
    printed = capsys.readouterr().out
    assert "240 windows of wwwwwwwwwwwwwwww, split test" in printed
    assert "95% interval over 6 people" in printed
    assert "not certain" in printed
    assert "person P5" in printed
    assert printed.index("person P5") < printed.index("person P0")  # the worst first
    assert (
        json.loads(json.dumps(comparison.model_dump(mode="json")))["models"][1]["difference"]["mpjpe_mm"]["units"] == 6
    )
