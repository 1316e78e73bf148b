"""Training through its flows: taken up again, on several devices, from a published checkpoint, with 2D-only windows."""

import json
import logging
from pathlib import Path

import pytest

import data_contracts.store.folders
from data_contracts.errors import InputError
from data_contracts.parameters import CorruptionParameters, HeadKind, Objective, Runtime
from model import training
from tasks.tracking.runs import connect, find_runs
from tests.flows.typed import convert, evaluate, finetune, pretrain

CURVES = ("loss", "learning_rate", "val_mpjpe_mm", "val_pck_150", "train_mpjpe_mm")


def curves(store, digest):
    """Metric -> every (step, value) logged, in the order of the steps."""
    client = connect(store)
    run, *_ = find_runs(client, digest)
    assert run.info.status == "FINISHED"
    found = {name: client.get_metric_history(run.info.run_id, name) for name in CURVES}
    return {name: sorted((entry.step, entry.value) for entry in entries) for name, entries in found.items()}


@pytest.fixture
def windows(outcome):
    return outcome["stages"]["convert"]["folder"]


class Killed(BaseException):
    """Stands for a kill: nothing of the flow may catch it."""


@pytest.mark.parametrize(
    ("module", "name", "call", "resumes"),
    [
        (training, "save_last", 1, False),  # killed before there was anything to continue from
        (training, "keep", 2, True),
        (training, "save_last", 2, True),
        (data_contracts.store.folders, "write_manifest", 1, True),
    ],
)
def test_a_killed_run_goes_on_in_its_own_mlflow_run_without_a_gap_or_a_double_step(
    windows, parameters, store, empty_store, monkeypatch, module, name, call, resumes
):
    longer = parameters.pretrain.model_copy(update={"max_epochs": 3, "patience": 3})
    whole = pretrain(windows, longer, store=str(store))  # the first time; then it is there
    calls, work = [], getattr(module, name)

    def killed_once(*arguments):
        calls.append(name)
        if len(calls) == call:
            raise Killed
        return work(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, killed_once)
        with pytest.raises(Killed):
            pretrain(windows, longer, store=str(empty_store))
    resumed = pretrain(windows, longer, store=str(empty_store))
    assert resumed.digest == whole.digest
    client = connect(empty_store)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    assert len(client.search_runs(experiments, "tags.`uplift.stage` = 'pretrain'")) == 1
    assert len(client.search_logged_models(experiments)) == 3  # the epochs' checkpoints, each once
    windows_per_second, mflop = (whole.statistics[name] for name in ("windows_per_second", "mflop_per_window"))
    assert whole.statistics["gflop_per_second"] == pytest.approx(3 * mflop / 1000 * windows_per_second)
    wanted = curves(store, whole.digest)
    assert [step for step, _ in wanted["loss"]] == [record["step"] for record in whole.statistics["history"]]
    assert curves(empty_store, whole.digest) == wanted
    manifests = [json.loads((folder.path / "manifest.json").read_text()) for folder in (whole, resumed)]
    assert [manifest["code"]["resumed"] for manifest in manifests] == [False, resumes]
    files = [manifest["files"] for manifest in manifests]
    for name in ("model.safetensors", "last.safetensors"):
        assert files[0][name] == files[1][name], name


@pytest.fixture
def task_log():
    """Messages to Prefect's loggers of task runs, wherever these pass them on to."""
    lines, handler, logger = [], logging.Handler(logging.INFO), logging.getLogger("prefect.task_runs")
    handler.emit = lambda record: lines.append(record.getMessage())
    level, disabled = logger.level, logger.disabled
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.disabled = False
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(level)
    logger.disabled = disabled


def test_two_processes_train_through_the_flow_and_their_lines_reach_its_log(
    windows, parameters, store, empty_store, task_log
):
    alone = pretrain(windows, parameters.pretrain, store=str(store))  # as the pipeline left it
    runtime = Runtime(accelerator="cpu", devices=2, threads=1)
    two = pretrain(windows, parameters.pretrain, runtime, store=str(empty_store))
    assert two.digest == alone.digest
    assert two.counts == alone.counts
    assert {file.name for file in two.path.iterdir()} == {file.name for file in alone.path.iterdir()}
    for record, other in zip(two.statistics["history"], alone.statistics["history"], strict=True):
        assert record["loss"] == pytest.approx(other["loss"], rel=1e-4)
    assert any("windows of 27 frames on 2 x cpu" in line for line in task_log)


def test_a_published_checkpoint_is_fine_tuned_and_scored(windows, parameters, store, reference_folder):
    published = str(reference_folder / "motionbert_small.bin")  # takes up to 12 frames
    clips = json.loads((Path(windows) / "manifest.json").read_text())["inputs"]["clips"]
    windows = convert(clips, parameters.convert.model_copy(update={"window": 9}), store=str(store)).folder
    scored = evaluate(windows, published, parameters.evaluate, store=str(store), fit=parameters.baselines)
    of_the_paper = {"head": HeadKind.JOINTS, "optimiser": "adamw", "learning_rate": 1e-3, "batch_size": 8}
    frozen = parameters.finetune.model_copy(update={"freeze_backbone": True, **of_the_paper})
    tuned = finetune(windows, published, frozen, store=str(store))
    assert tuned.counts["trained_parameters"] < tuned.counts["parameters"]
    again = evaluate(windows, tuned.folder, parameters.evaluate, store=str(store), fit=parameters.baselines)
    errors = [result.statistics["metrics"]["model"]["mpjpe_mm"] for result in (scored, again)]
    assert errors[1] < errors[0]  # its weights are random


def test_a_token_is_learned_where_that_fills_masked_joints(windows, parameters, store):
    token = parameters.pretrain.model_copy(update={"corruption": CorruptionParameters(joint_share=0.1, fill="token")})
    result = pretrain(windows, token.model_copy(update={"max_epochs": 1}), store=str(store))
    plain = parameters.pretrain.model_copy(update={"max_epochs": 1})
    inputs = parameters.pretrain.network.features_in
    assert result.counts["parameters"] == pretrain(windows, plain, store=str(store)).counts["parameters"] + inputs


def test_a_network_that_gives_back_2d_is_not_scored_as_a_lifter(windows, parameters, store):
    reconstruct = parameters.pretrain.model_copy(
        update={
            "objective": Objective.RECONSTRUCT,
            "network": parameters.pretrain.network.model_copy(update={"dim_out": 2, "geometry": "none"}),
            "max_epochs": 1,
        }
    )
    backbone = pretrain(windows, reconstruct, store=str(store))
    with pytest.raises(InputError, match="returns 2D poses"):
        evaluate(windows, backbone.folder, parameters.evaluate, store=str(store), fit=parameters.baselines)
