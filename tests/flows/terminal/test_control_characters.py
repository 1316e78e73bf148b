"""Control characters in file names are escaped on the terminal and in logs."""

import io
import os
import subprocess
import sys

import pytest
from rich.console import Console
from rich.table import Table

from data_contracts.text import printable
from flows.terminal.printing import console, people_table
from tasks.stage_runs.progress import progress_bar
from tests.hostile_names import NAMES

ESCAPE = "\x1b]0;owned\x07\x1b[31m\x9b2J\u202e"
SHOWN = r"\x1b]0;owned\x07\x1b[31m\x9b2J\u202e"


def has_control(text: str) -> bool:
    return any(not char.isprintable() for char in text.replace("\n", ""))


@pytest.mark.parametrize("name", NAMES)
def test_a_line_shows_the_name(name, capsys):
    console(False).print(f"not lifted: {name}", soft_wrap=True)
    assert capsys.readouterr().out == f"not lifted: {printable(name, keep=chr(10) + chr(9))}\n".expandtabs(8)


def test_cells_titles_and_headers_show_the_name(capsys):
    table = Table(ESCAPE, title=ESCAPE, caption=ESCAPE)
    table.add_row(ESCAPE)
    console(False).print(table, ESCAPE)
    said = capsys.readouterr().out
    assert not has_control(said)
    assert said.count(SHOWN) == 5


def test_a_person_whose_folder_has_any_name_is_in_the_table(capsys):
    person = {"name": ESCAPE, "frames": 9, "files": [f"motion.{ESCAPE}"], "folder": ESCAPE}
    console(False).print(people_table([{"name": ESCAPE, "people": [person]}]))
    assert not has_control(capsys.readouterr().out)


@pytest.mark.parametrize("name", [ESCAPE, "[/red]"])
def test_a_bar_shows_the_name(name):
    text = io.StringIO()
    bar = progress_bar()
    bar.add_task(name, total=1.0)
    Console(file=text, width=200).print(bar)
    assert printable(name) in text.getvalue()
    assert not has_control(text.getvalue())


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_LOGGING")}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=env, check=False)


def test_logs_show_the_name():
    code = (
        "import flows.cli, logging, sys; from prefect.logging import get_logger;"
        "from prefect.logging.configuration import setup_logging; setup_logging();"
        "name = sys.argv[1]; get_logger('flow_runs').warning('%s: lost', name);"
        "logging.getLogger('other').warning(name);"
        "from flows.terminal.logs import ApiHandler;"
        "kinds = {type(one) for one in logging.getLogger('prefect.flow_runs').handlers};"
        "assert kinds == {ApiHandler}, kinds"
    )
    done = run(code, ESCAPE)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(SHOWN) >= 2
    assert not has_control(done.stderr)


def test_a_refusal_shows_the_name(empty_store, tmp_path):
    source = tmp_path / f"{ESCAPE}\nuplift: done.json"
    source.write_text("[]")
    done = run("from flows.cli import main; main()", "keypoints", str(source), "--store", str(empty_store))
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("uplift: ")]
    assert f"{SHOWN}\\nuplift: done.json: is a JSON file of unknown keypoint format" in line
    assert not has_control(done.stdout + done.stderr)
