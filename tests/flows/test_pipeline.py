import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterName,
    FlowRunFilterParentFlowRunId,
)

import flows.pipeline
import flows.promote
from data_contracts.errors import InputError
from data_contracts.parameters import IngestParameters, PromoteParameters
from model.data.loading import load_windows
from model.lifting.lifter import load_lifter
from tasks.figures.durations import recent_pipeline_runs, stage_seconds
from tasks.tracking.registry import logged_model_id
from tasks.tracking.runs import connect, find_runs
from tasks.viewer.evaluation_viewer import VIEWER_FILE
from tests.flows.artifacts import artifacts_of, pipeline_runs, shown_as
from tests.flows.typed import convert, pipeline

STAGES = ["synthesise", "ingest", "convert", "pretrain", "finetune", "baselines", "evaluate"]
DATE = r"\d\d-\d\d \d\d:\d\d"


def test_every_stage_runs_once_in_order_and_writes_its_folder(outcome):
    assert list(outcome["stages"]) == STAGES
    for stage in outcome["stages"].values():
        assert not stage["cached"]
        manifest = json.loads((Path(stage["folder"]) / "manifest.json").read_text())
        assert manifest["digest"] == stage["digest"] == Path(stage["folder"]).name


def test_prefect_shows_the_stages_as_subflows_in_order(outcome, store):
    parent = pipeline_runs(store)[0]
    with get_client(sync_client=True) as client:
        children = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[parent.id]))
        )
        names = {flow.id: flow.name for flow in client.read_flows()}
    children = sorted(children, key=lambda run: run.start_time)
    assert [names[run.flow_id] for run in children] == STAGES[1:]
    assert re.fullmatch(rf"{DATE} synthetic demo\+\d+", parent.name)
    for run in children:
        assert re.fullmatch(rf"{DATE} synthetic", run.name)
    assert all(run.state.is_completed() for run in children)


def test_prefect_shows_the_progress_of_training(outcome):
    for stage in ("pretrain", "finetune"):
        steps = int(outcome["stages"][stage]["statistics"]["history"][-1]["step"])
        assert (f"{stage}: {steps:,} of {steps:,} steps", "100") in shown_as(f"{stage}-progress")


def test_the_same_pipeline_again_does_no_work_and_makes_no_new_version(outcome, parameters, store, caplog):
    # the server of these tests stores no task runs, Prefect does not pass lines on to pytest, and a refused command of
    # another test has made its loggers silent
    logger = logging.getLogger("prefect.task_runs")
    caplog.set_level(logging.INFO, logger.name)
    logger.addHandler(caplog.handler)
    again = pipeline(parameters=parameters, store=str(store))
    logger.removeHandler(caplog.handler)
    assert again["cached"]
    for stage in outcome["stages"].values():  # a task run shows it in the graph
        assert f"Finished in state Cached('{stage['folder']}'" in caplog.text
    assert again["model"] == outcome["model"]
    assert again["metrics"] == outcome["metrics"]


def test_metrics_contain_the_model_and_the_baselines(outcome):
    assert list(outcome["metrics"]) == ["model", "mean_depth", "linear", "mlp"]
    for scores in outcome["metrics"].values():
        assert scores["train_minutes"] > 0
        assert 0 < scores["p_mpjpe_mm"] <= scores["mpjpe_mm"]
        assert 0 <= scores["pck_150"] <= 1


def test_mlflow_has_a_parent_run_with_a_child_per_stage(outcome, store):
    client = connect(store)
    parent = client.get_run(outcome["mlflow_run"])
    assert parent.info.status == "FINISHED"
    assert parent.data.params["pretrain.network.embed_dim"] == "16"
    assert parent.data.metrics["test/mpjpe_mm"] == pytest.approx(outcome["metrics"]["model"]["mpjpe_mm"])
    children = client.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'", order_by=["start_time"]
    )
    by_name = {run.data.tags["uplift.stage"]: run for run in children}
    assert list(by_name) == STAGES[1:]
    assert re.fullmatch(rf"{DATE} synthetic demo\+\d+", parent.info.run_name)
    assert parent.info.run_name.endswith(parent.data.tags["uplift.preset"])
    for stage in ("ingest", "pretrain"):
        assert re.fullmatch(rf"{DATE} synthetic {stage}", by_name[stage].info.run_name)
    tuned = by_name["finetune"]
    assert tuned.inputs.dataset_inputs[0].dataset.digest == outcome["stages"]["convert"]["digest"]
    scored = by_name["evaluate"].data.metrics
    assert scored["test/mlp/mpjpe_mm"] == pytest.approx(outcome["metrics"]["mlp"]["mpjpe_mm"])
    robustness = outcome["stages"]["evaluate"]["statistics"]["robustness"]["mpjpe_mm"]
    assert scored["test/robustness/noise_mpjpe_mm"] == pytest.approx(robustness["noise"]["model"])
    assert scored["test/linear/robustness/coco17_mpjpe_mm"] == pytest.approx(robustness["coco17"]["linear"])
    minutes = [sum(outcome["stages"][name]["seconds"] for name in ("pretrain", "finetune")) / 60]
    minutes.append(outcome["stages"]["baselines"]["statistics"]["train_minutes"]["mlp"])
    assert [scored["train_minutes"], scored["mlp/train_minutes"]] == pytest.approx(
        minutes, rel=0.3
    )  # their starts apart
    history = client.get_metric_history(by_name["pretrain"].info.run_id, "val_mpjpe_mm")
    steps = [metric.step for metric in history]
    assert len(steps) == len(set(steps)) == 2
    pictures = {artifact.path for artifact in client.list_artifacts(by_name["evaluate"].info.run_id)}
    assert {"lifted.png", "joints.png", "pck.png", "errors.png"} <= pictures


def test_scores_have_the_same_names_on_stage_pipeline_and_version(outcome, store):
    client = connect(store)
    version = client.get_model_version("pose-uplift", str(outcome["model"]["version"]))
    stage = client.get_run(client.get_run(outcome["mlflow_run"]).data.tags["uplift.evaluate.run"])
    of_stage, of_pipeline = stage.data.metrics, client.get_run(outcome["mlflow_run"]).data.metrics
    of_model = {metric.key: metric.value for metric in client.get_logged_model(logged_model_id(version)).metrics}
    for name in ("mpjpe_mm", "accel_mm", "pck_150", "mpjpe_mm_low", "mpjpe_mm_high"):
        score = of_stage[f"test/{name}"]
        assert of_pipeline[f"test/{name}"] == of_model[f"test/{name}"] == score
    assert list(version.tags)[:3] == ["MPJPE", "uplift.checkpoint", "uplift.windows"]  # a promotion adds another
    assert version.tags["MPJPE"] == f"{of_stage['test/mpjpe_mm']:.1f} mm"
    assert "`@champion`" in client.get_registered_model("pose-uplift").description
    assert of_stage["test/mpjpe_mm_low"] < of_stage["test/mpjpe_mm"] < of_stage["test/mpjpe_mm_high"]
    for name in ("test/linear/mpjpe_mm", "test/mlp/robustness/noise_mpjpe_mm", "mlp/train_minutes"):
        assert of_pipeline[name] == of_stage[name]


def test_the_version_is_described_by_its_card(outcome, store):
    client = connect(store)
    card = client.get_model_version("pose-uplift", str(outcome["model"]["version"])).description.replace("&emsp;", "")
    for heading in ("How to load", "Limits", "Scores", "Robustness", "Data", "Recipe", "Provenance"):
        assert f"\n## {heading}\n" in card
    assert f"| model | {outcome['metrics']['model']['mpjpe_mm']:.1f} " in card
    assert "| `network.embed_dim` | 32 | 16 |" in card
    assert "The motion is synthetic" in card
    for stage in STAGES[1:5]:
        assert outcome["stages"][stage]["digest"] in card
    assert [file.path for file in client.list_artifacts(outcome["mlflow_run"])] == [
        "card.md",
        "durations.png",
    ]


def test_every_pipeline_run_shows_the_durations_of_stages(outcome, parameters, store):
    pipeline(parameters=parameters, store=str(store))
    client = connect(store)
    first = client.get_run(outcome["mlflow_run"]).data.metrics
    assert {name: first[f"seconds/{name}"] for name in STAGES} == {
        name: stage["seconds"] for name, stage in outcome["stages"].items()
    }
    runs = recent_pipeline_runs(client, store, outcome["mlflow_run"])
    assert 0.0 in {sum(stage_seconds(run).values()) for run in runs}  # all of it was cached
    assert [run.info.start_time for run in runs] == sorted(run.info.start_time for run in runs)
    shown = (store / "mlartifacts" / outcome["mlflow_run"] / "artifacts" / "durations.png").as_uri()
    assert any(f"]({shown})" in text for text in artifacts_of("pipeline-durations"))


def test_the_summary_of_a_pipeline_run_has_a_row_per_stage(outcome, store):
    digest, clips = (outcome["stages"][stage]["digest"] for stage in ("finetune", "ingest"))
    summaries = [text for text in artifacts_of("pipeline-summary", pipeline_runs(store)) if digest in text]
    assert summaries
    for summary in summaries:  # of the first run, and of cached runs
        lines = summary.splitlines()
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
        assert [row[0] for row in rows[2:]] == STAGES
        assert {len(row) for row in rows} == {4}
        counted, folder = rows[2 + STAGES.index("ingest")][2:]
        assert counted.startswith(f"clips {outcome['stages']['ingest']['counts']['clips']}, ")
        assert folder == f"`clips/{clips}`"
        scores = outcome["stages"]["evaluate"]["statistics"]["metrics"]
        evaluated = rows[2 + STAGES.index("evaluate")][2]
        model, mlp = (f"{scores[name]['mpjpe_mm']:.1f} mm" for name in ("model", "mlp"))
        assert evaluated.startswith(f"MPJPE {model}, baseline mlp {mlp}, windows ")


def test_mlflow_has_the_viewer_and_prefect_links_to_it(outcome, store):
    scored = find_runs(connect(store), outcome["stages"]["evaluate"]["digest"], store)[0].info.run_id
    viewer = store / "mlartifacts" / scored / "artifacts" / VIEWER_FILE
    assert 10_000 < viewer.stat().st_size < 2_000_000
    for key in ("playing", "pipeline-playing"):
        assert any(f"]({viewer.as_uri()})" in text for text in artifacts_of(key))


def test_the_licence_is_in_the_card_and_changes_no_result(outcome, parameters, store):
    said = parameters.model_copy(update={"ingest": parameters.ingest.model_copy(update={"licence": "CC BY 4.0"})})
    again = pipeline(parameters=said, store=str(store))
    assert again["cached"]
    version = connect(store).get_model_version("pose-uplift", str(again["model"]["version"]))
    assert "Licence of the data: CC BY 4.0." in version.description


def test_the_registered_model_lifts_as_it_was_scored_in_a_process_that_unpickles_nothing(
    outcome, parameters, store, tmp_path
):
    windows = load_windows(Path(outcome["stages"]["convert"]["folder"]), "test")
    np.save(tmp_path / "x.npy", windows.pose_2d[:5].numpy())
    code = (
        "import mlflow, numpy as np;"
        f"model = mlflow.pyfunc.load_model({outcome['model']['uri']!r});"
        f"np.save({str(tmp_path / 'y.npy')!r}, model.predict(np.load({str(tmp_path / 'x.npy')!r})))"
    )
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": f"sqlite:///{store / 'mlflow.db'}",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "PYTHONPATH": str(tmp_path),
    }
    (tmp_path / "model.py").write_text("raise AssertionError('the consumer has a model.py of its own')")
    (tmp_path / "data_contracts.py").write_text("raise AssertionError('and this')")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment, capture_output=True)
    checkpoint = Path(outcome["stages"]["finetune"]["folder"]) / "model.safetensors"
    with torch.inference_mode():
        expected = load_lifter(checkpoint, parameters.evaluate.flip)(windows.pose_2d[:5])  # as it was scored
    lifted = np.load(tmp_path / "y.npy")
    assert lifted.dtype == np.float32
    np.testing.assert_allclose(lifted, expected, atol=1e-5)
    assert (lifted[:, :, 0] == 0).all()


def test_a_failed_stage_ends_the_pipeline_and_writes_no_folder(outcome, parameters, store):
    broken = parameters.model_copy(update={"ingest": IngestParameters(min_frames=100_000)})
    before, failed_before = sorted((store / "clips").glob("[!.]*")), failed_runs(store)
    with pytest.raises(InputError, match="all clips are in quarantine"):
        pipeline(parameters=broken, store=str(store))
    assert sorted((store / "clips").glob("[!.]*")) == before
    failed = {run_id: name for run_id, name in failed_runs(store).items() if run_id not in failed_before}
    assert sorted(failed.values()) == ["ingest", "pipeline"]
    why, summary = next(
        shown for shown in shown_as("pipeline-summary") if "all clips are in quarantine" in str(shown[0])
    )
    assert re.match("failed: InputError: .*all clips are in quarantine", why)
    assert summary.startswith("The store keeps the completed stages, ")
    assert "| synthesise |" in summary
    assert "| ingest |" not in summary


def failed_runs(store):
    """Return the stage of each run id."""
    client = connect(store)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(experiments, "attributes.status = 'FAILED'")
    return {run.info.run_id: run.data.tags["uplift.stage"] for run in found}


def test_a_digest_is_accepted_instead_of_a_folder(outcome, parameters, store):
    again = convert(outcome["stages"]["ingest"]["digest"][:8], parameters.convert, store=str(store))
    assert again.cached
    assert again.folder == outcome["stages"]["convert"]["folder"]


def test_the_final_state_of_a_pipeline_run_has_its_headline(outcome, parameters, store, monkeypatch):
    version = outcome["model"]["version"]
    asked = {"parameters": parameters, "store": str(store), "return_state": True}
    assert pipeline(**asked).message == f"registered: version {version} is the challenger"
    too_much = parameters.model_copy(update={"promote": PromoteParameters(min_gain_mm=1e6)})
    state = pipeline(**asked | {"parameters": too_much}, promote="gate")
    assert re.match(
        rf"not promoted: version {version}, (worse|not certainly better) than baseline \w+: ", state.message
    )
    assert state.result()["promotion"]["promoted"] is False
    monkeypatch.setattr(flows.pipeline, "APPROVAL_DEPLOYMENT", "promote/judging")
    with pytest.raises(InputError, match="promote/judging: this Prefect server has no such deployment"):
        pipeline(parameters=parameters, store=str(store), promote="approve")
    with get_client(sync_client=True) as client:
        client.create_deployment(flow_id=client.create_flow(flows.promote.promote), name="judging")
        state = pipeline(**asked, promote="approve")
        assert state.message.startswith(f"not decided: version {version} is judged by promote/judging, flow run ")
        name = FlowRunFilterName(any_=[state.message.split()[-1]])
        (sent,) = client.read_flow_runs(flow_run_filter=FlowRunFilter(name=name))
    assert (sent.parameters["version"], sent.parameters["require_approval"]) == (version, True)
    assert sent.parent_task_run_id is None
