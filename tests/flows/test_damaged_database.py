"""A damaged `mlflow.db` ends every command that needs it with one line and exit code 2."""

import json
import sys

import pytest

from flows.cli import main
from tests.flows.conftest import TINY
from tests.tasks.lifting.formats.writing import alphapose, body, seen_by, triples

CHAMPION = "models:/pose-uplift@champion"
COMMANDS = {
    "gc": ["--keep-last", "1"],
    "lineage": [CHAMPION],
    "export": [CHAMPION, "--onnx"],
    "lift": ["walk.json", "--model", CHAMPION],
    "pipeline": [word for setting in TINY for word in ("--set", setting)],
}


@pytest.mark.parametrize("content", ["empty", "truncated"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_damaged_database_is_named_in_one_line(command, content, empty_store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    person = triples(seen_by("coco17", body(40, (300.0, 400.0))))
    (tmp_path / "walk.json").write_text(json.dumps(alphapose([person], people=[1])))
    database = empty_store / "mlflow.db"
    with database.open("r+b") as file:
        file.truncate(0 if content == "empty" else database.stat().st_size // 2)
    monkeypatch.setattr(sys, "argv", ["uplift", command, *COMMANDS[command], "--store", str(empty_store)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert f"uplift: {database}: the database is {'empty' if content == 'empty' else 'damaged'}" in shown
    assert "Traceback" not in shown
