"""What a person and a program read of a stage."""

import json

from data_contracts.report import StageResult
from flows.terminal.printing import console, print_stage

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


def test_a_program_reads_one_object_and_a_person_what_stands_beside_it(capsys):
    print_stage(RESULT, as_json=True, next_command="x")
    printed = capsys.readouterr()
    assert json.loads(printed.out)["folder"] == RESULT.folder
    assert RESULT.folder in printed.err
