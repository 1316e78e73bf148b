"""Evaluation of a model with baselines, which are fitted once per windows folder."""

import json
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

from data_contracts.benchmarks.files import find_benchmark
from data_contracts.benchmarks.protocols import Benchmark
from data_contracts.errors import InputError
from data_contracts.parameters import (
    AugmentationParameters,
    BaselinesParameters,
    ConvertParameters,
    NewBodies,
    NewCameras,
)
from data_contracts.report import BASELINES, ERRORS_FILE, REPORT_FILE, ROBUSTNESS_METHODS, read_report
from data_contracts.store.checking import check_folder
from data_contracts.store.digests import StageKey
from data_contracts.store.folders import StageResult, open_stage
from data_contracts.store.manifests import read_manifest
from flows.cli import main
from flows.terminal.printing import score_tables
from tasks.benchmarks.importing import import_files
from tasks.benchmarks.scoring import score_benchmark
from tasks.stage import Context
from tasks.tracking.registry import version_scores
from tasks.tracking.runs import connect, finished_run
from tests.flows.typed import baselines, evaluate, pipeline
from tests.tasks.benchmarks.benchmark_files import write_h36m
from tests.tasks.evaluate.marked_videos import write_video


@pytest.fixture
def windows(outcome):
    return Path(outcome["stages"]["convert"]["folder"])


@pytest.fixture
def benchmark(windows, store):
    """Return a windows folder with the test split only."""
    with open_stage(
        store, StageKey("windows", "convert", ConvertParameters(window=9), {"clips": "a benchmark"})
    ) as stage:
        if not stage.cached:
            shutil.copytree(windows / "test", stage.folder / "test")
            counts = read_manifest(windows)["counts"]["windows"]
            stage.counts["windows"] = counts | {"train": 0, "val": 0}
    return stage.folder


def fitted(store):
    return sorted((store / "baselines").glob("[!.]*"))


def test_the_baselines_are_fitted_once_for_all_models(outcome, windows, parameters, store):
    before = fitted(store)
    assert baselines(str(windows), parameters.baselines, store=str(store)).cached
    report = evaluate(str(windows), outcome["stages"]["pretrain"]["folder"], store=str(store), fit=parameters.baselines)
    assert not report.cached
    assert fitted(store) == before
    for name in BASELINES:
        assert report.statistics["metrics"][name] == outcome["metrics"][name]


def test_the_mlp_is_fitted_on_augmented_windows_if_configured(windows, parameters, store):
    seen_anew = parameters.baselines.mlp.model_copy(
        update={"augmentation": AugmentationParameters(cameras=NewCameras(), bodies=NewBodies(longest=1.2))}
    )
    result = baselines(str(windows), BaselinesParameters(mlp=seen_anew), store=str(store))
    assert not result.cached
    assert read_manifest(result.path)["parameters"]["mlp"]["augmentation"]["bodies"]["longest"] == 1.2


def test_the_baselines_folder_has_files_and_settings(outcome):
    stage = outcome["stages"]["baselines"]
    folder = Path(stage["folder"])
    assert {file.name for file in folder.iterdir()} == {"manifest.json", *(f"{name}.safetensors" for name in BASELINES)}
    check_folder(folder)
    manifest = read_manifest(folder)
    assert manifest["parameters"]["mlp"]["minutes"] == 0.001
    assert not {"max_epochs", "patience", "keep_top"} & manifest["parameters"]["mlp"].keys()
    assert manifest["counts"]["steps"] > 0
    assert manifest["statistics"]["windows_per_second"] > 0
    assert set(manifest["statistics"]["train_minutes"]) == set(BASELINES)


def test_the_error_table_has_every_method_for_every_window(outcome):
    folder = Path(outcome["stages"]["evaluate"]["folder"])
    errors = pd.read_parquet(folder / ERRORS_FILE)
    for name in BASELINES:
        mean = (errors[f"{name}_mpjpe_mm"] * errors["weight"]).sum() / errors["weight"].sum()
        assert mean == pytest.approx(outcome["metrics"][name]["mpjpe_mm"], rel=1e-6)
    report = read_report(folder)
    assert report.model.train_minutes > report.mlp.train_minutes > 0


def test_the_report_has_intervals_and_the_evaluated_inputs(outcome):
    stage = outcome["stages"]["evaluate"]
    report = read_report(Path(stage["folder"]))
    tuned, windows = (outcome["stages"][name] for name in ("finetune", "convert"))
    assert report.digests["windows"] == windows["digest"]
    assert report.digests["checkpoint"] == read_manifest(Path(tuned["folder"]))["files"]["model.safetensors"]
    assert report.model_uri.startswith("models:/m-")
    assert {"contract", "python", "torch"} <= report.versions.keys()
    assert report.people == len(report.model.per_group_mm) < 5
    assert stage["statistics"]["resampled"] == f"{report.clips} clips"
    for name, scores in report.methods().items():
        for metric, found in scores.metrics().items():
            assert found.over == "clips"
            assert found.low <= found.value <= found.high
            assert stage["statistics"]["metrics"][name][metric] == found.value
            assert tuple(stage["statistics"]["intervals"][name][metric]) == found.interval
        assert len(scores.per_joint_mm) == 17
        assert scores.pck_curve[30] == pytest.approx(scores.pck_150.value)
        assert sum(part.windows for part in scores.per_yaw_mm.values()) == report.windows


def test_robustness_is_in_the_report_and_in_the_json_output(outcome, store):
    stage = outcome["stages"]["evaluate"]
    report = json.loads((Path(stage["folder"]) / REPORT_FILE).read_text())["robustness"]
    assert report == stage["statistics"]["robustness"] == StageResult(**stage).summary()["robustness"]
    assert report["windows"] == 8 < stage["counts"]["windows"]  # `evaluate.robustness_windows`
    assert {"clean", "noise", "missing", "coco17", "body25b"} <= report["mpjpe_mm"].keys()
    for errors in report["mpjpe_mm"].values():
        assert set(errors) == set(ROBUSTNESS_METHODS)


def test_robustness_is_optional(outcome, windows, parameters, store):
    without = parameters.evaluate.model_copy(update={"robustness_windows": 0})
    model = outcome["stages"]["finetune"]["folder"]
    result = evaluate(str(windows), model, without, store=str(store), fit=parameters.baselines)
    assert "robustness" not in result.summary()
    assert json.loads((result.path / REPORT_FILE).read_text())["robustness"] is None


def test_videos_with_marker_truth_are_in_the_report_the_metrics_and_the_card(
    outcome, parameters, store, walking, tmp_path
):
    videos = parameters.evaluate.model_copy(update={"real_video": str(write_video(tmp_path, walking))})
    again = pipeline(parameters=parameters.model_copy(update={"evaluate": videos}), store=str(store))
    assert not again["stages"]["evaluate"]["cached"]
    assert again["stages"]["finetune"]["cached"]
    report = read_report(Path(again["folder"]))
    assert report.digests.keys() == {"report", "windows", "checkpoint", "baselines", "real_video"}
    assert list(report.real_video) == ["model", "detector", "markers"]
    mean = report.real_video["model"]["mean"]
    assert mean == report.real_video["model"]["walk"]
    assert mean.frames == len(walking)
    client = connect(store)
    for run in (again["mlflow_run"], finished_run(client, again["digest"])):
        metrics = client.get_run(run).data.metrics
        assert metrics["real_video/mpjpe_yaw_mm"] == pytest.approx(mean.mpjpe_yaw_mm)
        assert metrics["real_video/detector/p_mpjpe_mm"] == pytest.approx(0, abs=1e-3)
    version = client.get_model_version("pose-uplift", str(again["model"]["version"]))
    assert version_scores(client, version)["real_video/root_path_mm"] == pytest.approx(mean.root_path_mm)
    assert f"{mean.mpjpe_yaw_mm:.1f}" in version.description.partition("## Real video")[2].partition("##")[0]
    summary = StageResult(**again["stages"]["evaluate"]).summary()
    assert summary["real_video"]["model"]["mean"]["lean_deg"] == pytest.approx(mean.lean_deg)
    (*_, table) = score_tables(again["stages"]["evaluate"]["statistics"])
    assert [column.header for column in table.columns] == ["real video", "model", "detector", "markers"]
    assert list(table.columns[1].cells) == mean.cells()


def test_a_folder_without_videos_is_refused_before_the_training(parameters, store, tmp_path):
    missing = parameters.evaluate.model_copy(update={"real_video": str(tmp_path / "nowhere")})
    changed = parameters.with_seed(5).model_copy(update={"evaluate": missing})
    before = sorted((store / "runs").glob("[!.]*"))
    with pytest.raises(InputError, match="nowhere: no such folder"):
        pipeline(parameters=changed, store=str(store))
    assert sorted((store / "runs").glob("[!.]*")) == before


def test_a_benchmark_without_training_split_uses_the_baselines_of_the_model(
    outcome, benchmark, parameters, store, capsys
):
    before, model = fitted(store), outcome["stages"]["finetune"]["folder"]
    report = evaluate(str(benchmark), model, parameters.evaluate, store=str(store), fit=parameters.baselines)
    assert fitted(store) == before
    assert read_manifest(report.path)["inputs"]["baselines"] == outcome["stages"]["baselines"]["digest"]
    for name in ("model", "mlp"):
        assert report.statistics["metrics"][name]["mpjpe_mm"] == pytest.approx(outcome["metrics"][name]["mpjpe_mm"])
    with pytest.MonkeyPatch.context() as patch:
        options = ["--set", "evaluate.robustness_windows=8", "--baselines", outcome["stages"]["baselines"]["digest"]]
        command = ["uplift", "evaluate", str(benchmark), "--model", model, "--store", str(store), "--json", *options]
        patch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as end:
            main()
    assert end.value.code == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["digest"] == report.digest
    assert printed["cached"] is True
    assert printed["metrics"]["mlp"]["mpjpe_mm"] == report.statistics["metrics"]["mlp"]["mpjpe_mm"]
    assert printed["metrics"]["mlp"]["train_minutes"] > 0


def test_a_model_in_mlflow_is_evaluated_on_a_benchmark(outcome, benchmark, parameters, store):
    report = evaluate(
        str(benchmark), outcome["model"]["uri"], parameters.evaluate, store=str(store), fit=parameters.baselines
    )
    assert read_manifest(report.path)["inputs"]["baselines"] == outcome["stages"]["baselines"]["digest"]
    assert report.statistics["metrics"]["model"]["train_minutes"] > 0


def test_a_model_in_mlflow_is_scored_on_a_published_benchmark_in_a_run_of_its_own(
    outcome, walking, parameters, store, tmp_path
):
    context = Context(store, parameters)
    imported = import_files(context, find_benchmark(Benchmark.H36M, write_h36m(tmp_path, walking[:60])))
    result = score_benchmark(context, imported.digest, outcome["model"]["uri"])
    assert result.statistics["model"] == f"models:/pose-uplift/{outcome['model']['version']}"
    client = connect(store)
    metrics = client.get_run(finished_run(client, result.digest)).data.metrics
    assert metrics["h36m/p_mpjpe_mm"] == pytest.approx(result.statistics["benchmark_scores"]["mean"]["p_mpjpe_mm"])
    assert finished_run(client, imported.digest) is None


def test_baselines_of_windows_of_another_length_are_refused(outcome, parameters, store, tmp_path):
    with open_stage(store, StageKey("windows", "convert", ConvertParameters(window=5), {"clips": "short"})) as stage:
        if not stage.cached:
            stage.counts |= {"windows": {"train": 0, "val": 0, "test": 4}}
            write_short(Path(outcome["stages"]["convert"]["folder"]) / "test", stage.folder / "test")
    with pytest.raises(
        InputError, match=r"windows of 27 frames, but the evaluation windows have 5.*convert\.window=27"
    ):
        evaluate(str(stage.folder), outcome["stages"]["finetune"]["folder"], store=str(store), fit=parameters.baselines)


def write_short(source, target):
    """Return a windows folder with the first 5 frames of each window."""
    import pyarrow.parquet as parquet

    from data_contracts.windows import SCALARS, array_shapes, to_arrow, to_numpy

    table = parquet.read_table(next(iter(sorted(source.glob("*.parquet")))), partitioning=None)[:4]
    arrays = {name: to_numpy(table, name)[:, :5] for name in array_shapes(9)}
    target.mkdir()
    parquet.write_table(to_arrow(table.select(list(SCALARS)).to_pandas(), arrays), target / "part-00000.parquet")
