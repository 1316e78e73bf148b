"""Output of a stage for people and for programs."""

import json

from rich.console import Console

from data_contracts.report import METHODS
from data_contracts.store.folders import StageResult
from flows.terminal.printing import assumption_lines, console, print_stage, robustness_table, score_table

RESULT = StageResult(
    stage="ingest",
    folder="/data/[run 1]/[bold]store[/bold]/:smile:/clips/abc",
    digest="abc",
    cached=False,
    seconds=1.0,
    counts={"clips": 3, "[red]odd": 1},
    statistics={},
)


def test_paths_and_names_are_printed_as_they_are(capsys):
    print_stage(RESULT, as_json=False, next_command="uplift convert [/x]")
    shown = capsys.readouterr().out
    assert RESULT.folder in shown
    assert "[red]odd 1" in shown
    assert "next: uplift convert [/x]" in shown
    console(False).print("promoted: [better]")
    assert capsys.readouterr().out == "promoted: [better]\n"


def test_json_is_on_stdout_and_tables_are_on_stderr(capsys):
    print_stage(RESULT, as_json=True, next_command="x")
    printed = capsys.readouterr()
    assert json.loads(printed.out)["folder"] == RESULT.folder
    assert RESULT.folder in printed.err


def test_each_row_of_scores_fits_80_columns_with_intervals(capsys):
    scores = {"mpjpe_mm": 128.94, "p_mpjpe_mm": 91.5, "pck_150": 0.656, "auc_150": 0.35, "mpjve_mm": 12.34}
    metrics = {name: scores | {"train_minutes": 12.5} for name in METHODS}
    intervals = {name: {"mpjpe_mm": (98.76, 135.64)} for name in METHODS} | {"linear": {}}
    Console(width=80, markup=False).print(score_table(metrics, intervals, "16 people"))
    rows = [line.split("\u2502") for line in capsys.readouterr().out.splitlines() if line.startswith("\u2502")]
    assert [[cell.strip() for cell in row[1:-1]] for row in rows] == [
        [name, "128.9" if name == "linear" else "128.9 [98.8, 136]", "91.5", "65.6", "35.0", "12.34", "12.5 min"]
        for name in ("model", "mean depth", "linear", "mlp")
    ]


def test_detectors_with_equal_scores_share_a_row(capsys):
    errors = {"clean": (30, 70, 40), "coco17": (35, 80, 50), "halpe26": (33, 75, 45), "body25": (35, 80, 50)}
    by_condition = {name: dict(zip(("model", "linear", "mlp"), row, strict=True)) for name, row in errors.items()}
    console(False).print(robustness_table({"windows": 2000, "mpjpe_mm": by_condition}))
    rows = [line.split("\u2502") for line in capsys.readouterr().out.splitlines() if line.startswith("\u2502")]
    assert [[cell.strip() for cell in row[1:-1]] for row in rows] == [
        ["clean", "30.0", "70.0", "40.0"],
        ["coco17, body25", "35.0", "80.0", "50.0"],
        ["halpe26", "33.0", "75.0", "45.0"],
    ]


def test_an_assumption_of_all_files_is_one_line_and_others_name_their_files():
    files = [
        {"name": "a", "assumed": ["frame rate: 30", "height: 1.7"]},
        {"name": "b", "assumed": ["frame rate: 30", "height: 1.7"]},
        {"name": "c", "assumed": ["frame rate: 30"]},
    ]
    assert assumption_lines(files) == ["frame rate: 30", "height: 1.7 [a, b]"]
