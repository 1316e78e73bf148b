"""The command `uplift` in its own process."""

import json
import os
import pickle
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from flows.cli import app, main
from tasks.tracking.runs import connect, find_runs


@pytest.fixture
def uplift(tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "flows.cli", *map(str, arguments), "--store", str(tmp_path / "store")]
        environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    return run


class Command:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_a_pickle_that_would_run_code_leaves_no_trace(uplift, empty_store, tmp_path):
    trace, source = tmp_path / "trace", tmp_path / "evil.pkl"
    source.write_bytes(pickle.dumps([Command(f"touch {trace}")], protocol=4))
    run = uplift("ingest", source)
    assert run.returncode == 2
    assert not trace.exists()
    last_line = run.stderr.strip().splitlines()[-1]
    assert "posix.system" in last_line
    assert "Traceback" not in run.stderr
    assert not list((empty_store / "clips").glob("[!.]*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ingest", "absent.pkl"], "absent.pkl: no such file"),
        (["ingest", "README.md", "absent.pkl"], "absent.pkl: no such file"),
        (["pipeline", "--source", "presets", "--source", "absent.pkl"], "presets: no motion file"),
        (["convert", "abc", "--set", "convert.window=0"], "convert.window"),
        (["pipeline", "--preset", "best"], "unknown preset 'best'"),
        (["pretrain", "abc"], "no finished windows folder"),
        (["evaluate", "abc", "--model", "models:/x@y"], "no finished windows folder"),
    ],
)
def test_a_refused_input_ends_in_one_line_and_exit_code_2(uplift, arguments, message):
    run = uplift(*arguments)
    assert run.returncode == 2
    assert len(run.stderr.strip().splitlines()) == 1
    assert message in run.stderr


@pytest.mark.parametrize(
    ("stage", "arguments", "wanted"),
    [
        ("ingest", ["pretrain", "{}"], "expected a folder of kind windows (output of `uplift convert`)"),
        ("pretrain", ["convert", "{}"], "expected a folder of kind clips (output of `uplift ingest`)"),
        (
            "ingest",
            ["finetune", "{windows}", "--pretrained", "{}"],
            "a folder of kind runs (output of `uplift pretrain`",
        ),
        (
            "evaluate",
            ["evaluate", "{windows}", "--model", "{}"],
            "a folder of kind runs (output of `uplift pretrain`",
        ),
        ("ingest", ["promote", "--windows", "{}"], "expected a folder of kind windows (output of `uplift convert`)"),
    ],
)
def test_every_command_refuses_a_folder_of_another_stage(outcome, store, capsys, stage, arguments, wanted):
    stages = {name: result["folder"] for name, result in outcome["stages"].items()}
    filled = [argument.format(stages[stage], windows=stages["convert"]) for argument in arguments]
    with pytest.raises(SystemExit) as end, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["uplift", *filled, "--store", str(store)])
        main()
    assert end.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("uplift: ")
    assert wanted in last


@pytest.mark.parametrize("name", [info.callback.__name__ for info in app.registered_commands])
def test_every_command_has_the_shared_options(name):
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"}).output
    for option in ("--store", "--preset", "--set", "--json"):
        assert f" {option} " in shown


def test_json_is_the_last_line_and_a_second_run_is_cached(outcome, store):
    source = outcome["stages"]["synthesise"]["folder"]
    arguments = ["ingest", f"{source}/synthetic_joints_h36m_60.pkl", "--clip-list", f"{source}/synthetic_clip_list.csv"]
    command = [sys.executable, "-m", "flows.cli", *arguments, "--store", str(store), "--set"]
    run = subprocess.run([*command, "ingest.min_frames=10", "--json"], capture_output=True, text=True, check=True)
    printed = json.loads(run.stdout.splitlines()[-1])
    assert printed["folder"] == outcome["stages"]["ingest"]["folder"]
    assert printed["cached"] is True
    assert printed["clips"] == outcome["stages"]["ingest"]["counts"]["clips"]
    assert {"digest", "seconds", "frames", "quarantined"} <= set(printed)


def test_a_stage_command_computes_without_prefect_and_records_an_mlflow_run(outcome, new_store):
    motion, store = outcome["stages"]["synthesise"]["folder"], new_store("direct")
    code = (
        "import sys\nfrom flows.cli import main\ntry:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert 'prefect' not in sys.modules"
    )
    files = [f"{motion}/synthetic_joints_h36m_60.pkl", "--clip-list", f"{motion}/synthetic_clip_list.csv"]
    command = [sys.executable, "-c", code, "ingest", *files, "--store", str(store), "--set", "ingest.min_frames=10"]
    run = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    printed = json.loads(run.stdout.splitlines()[-1])
    assert printed["digest"] == outcome["stages"]["ingest"]["digest"]
    assert printed["cached"] is False
    assert "| INFO    | ingest: " in run.stderr
    (tracked,) = find_runs(connect(store), printed["digest"])
    assert tracked.info.status == "FINISHED"


def test_a_benchmark_is_set_shown_and_removed(outcome, store):
    windows = outcome["stages"]["convert"]["digest"]

    def benchmark(*arguments):
        run = CliRunner().invoke(app, ["benchmark", *arguments, "--store", str(store), "--json"])
        return json.loads(run.stdout.splitlines()[-1])["benchmark"] if run.exit_code == 0 else str(run.exception)

    assert benchmark("show") is None
    assert benchmark("set", windows[:8]) == windows
    assert benchmark("show") == windows
    assert "expected a folder of kind windows" in benchmark("set", outcome["stages"]["ingest"]["folder"])
    assert benchmark("show") == windows
    assert benchmark("unset") is benchmark("show") is None
