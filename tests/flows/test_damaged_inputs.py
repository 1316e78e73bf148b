"""A bit is flipped in a stored file: the command that would read it ends with 2, and no model is registered."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from data_contracts.errors import InputError
from data_contracts.parameters import PromoteParameters
from flows.cli import main
from tasks.evaluate.compare import compare
from tasks.promotion.comparison import Comparison, EvaluationData
from tasks.promotion.promote import PairedReports, judge_reports
from tasks.tracking.registry import model_versions
from tasks.tracking.runs import connect, search_stage_runs

PART = "train/part-00000.parquet"
WEIGHTS = "model.safetensors"


@pytest.fixture
def copied(outcome, store, empty_store):
    """A store with the clips, windows, runs and baselines of the pipeline, and no runs in MLflow."""
    for kind in ("synthetic", "clips", "windows", "runs", "baselines"):
        shutil.copytree(store / kind, empty_store / kind, ignore=shutil.ignore_patterns("*.lock", "*.holder"))
    return empty_store


def flip_one_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def folder_of(outcome, stage, store):
    return next(store.glob(f"*/{outcome['stages'][stage]['digest']}"))


@pytest.fixture
def uplift(copied, parameters, tmp_path, monkeypatch, capsys):
    """Run a command on `copied` with the parameters of the pipeline; returns exit code and last line."""
    preset = tmp_path / "tiny.yaml"
    preset.write_text(yaml.safe_dump(parameters.model_dump(mode="json")))

    def run(*arguments):
        options = ("--store", copied, "--preset", preset)
        monkeypatch.setattr(sys, "argv", ["uplift", *map(str, arguments), *map(str, options)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, capsys.readouterr().err.strip().splitlines()[-1]

    return run


@pytest.mark.parametrize(
    ("damaged", "file", "rebuilt_by", "command"),
    [
        ("ingest", "clips.parquet", "ingest SOURCE", "convert {ingest} --set convert.seed=9"),
        ("convert", PART, "convert {ingest}", "pretrain {convert} --set pretrain.seed=9"),
        ("convert", PART, "convert {ingest}", "baselines {convert} --set baselines.mlp.seed=9"),
        ("convert", PART, "convert {ingest}", "pipeline --set pretrain.seed=9"),
        ("pretrain", WEIGHTS, "pretrain {convert}", "finetune {convert} --pretrained {pretrain}"),
        ("finetune", WEIGHTS, "finetune {convert} --pretrained RUN", "evaluate {convert} --model {finetune}"),
        ("baselines", "mlp.safetensors", "baselines {convert}", "evaluate {convert} --model {finetune}"),
    ],
)
def test_a_command_does_not_use_a_damaged_file(damaged, file, rebuilt_by, command, outcome, copied, uplift):
    digests = {stage: result["digest"] for stage, result in outcome["stages"].items()}
    folder = folder_of(outcome, damaged, copied)
    flip_one_bit(folder / file)
    code, line = uplift(*command.format(**digests).split())
    assert code == 2
    assert line.startswith(f"uplift: {folder}: the result is damaged: {file}: its SHA-256 is not the one in")
    assert f"remove the folder {folder} and run `uplift {rebuilt_by.format(**digests)}` again" in line
    client = connect(copied)
    assert model_versions(client) == []
    stages = {run.data.tags["uplift.stage"] for run in search_stage_runs(client, "")}
    assert stages <= {"pipeline"}  # the refused stage has no run


def test_a_worker_in_another_process_does_not_use_a_damaged_file(outcome, copied):
    folder = folder_of(outcome, "convert", copied)
    flip_one_bit(folder / "train/part-00000.parquet")
    worker = (
        "import sys; from pathlib import Path; from data_contracts.parameters import PipelineParameters\n"
        "from flows.stages import run_stage; from tasks.stage import Context\n"
        "run_stage('pretrain', Context(Path(sys.argv[1]), PipelineParameters()), windows=sys.argv[2])"
    )
    done = subprocess.run(
        [sys.executable, "-c", worker, str(copied), str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "InputError" in done.stderr
    assert "train/part-00000.parquet: its SHA-256 is not the one in manifest.json" in done.stderr


def test_a_half_deleted_result_is_named_with_the_command_that_rebuilds_it(outcome, copied, uplift):
    folder = folder_of(outcome, "ingest", copied)
    (folder / "clips.parquet").unlink()
    code, line = uplift("pipeline")
    assert code == 2
    assert "the result is incomplete, missing clips.parquet" in line
    assert f"remove the folder {folder} and run `uplift ingest SOURCE` again" in line
    shutil.copy(copied / "clips" / folder.name / "quarantine.csv", folder / "clips.parquet")
    (folder / "manifest.json").write_text("")
    code, line = uplift("convert", folder)
    assert code == 2
    assert f"{folder / 'manifest.json'}: the manifest is empty, damaged" in line


def test_damaged_reports_are_not_compared_and_not_used_for_promotion(outcome, store, empty_store):
    folder = folder_of(outcome, "evaluate", store)
    copy = Path(shutil.copytree(folder, empty_store / "reports" / folder.name))
    flip_one_bit(copy / "errors.parquet")
    with pytest.raises(InputError, match=r"errors\.parquet: its SHA-256 .* run `uplift evaluate"):
        compare(empty_store, [str(copy), str(copy)])
    version = f"models:/{outcome['model']['name']}/{outcome['model']['version']}"
    reports = PairedReports(EvaluationData(folder_of(outcome, "convert", store), frozenset()), copy, copy)
    with pytest.raises(InputError, match=r"errors\.parquet: its SHA-256 .* run `uplift evaluate"):
        judge_reports(store, Comparison(version, None, None), [reports], PromoteParameters())
