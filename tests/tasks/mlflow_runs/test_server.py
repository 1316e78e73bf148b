"""MLflow's server as the stack starts it."""

import os
import subprocess
import sys
from importlib.metadata import entry_points

from flows.stack.parts import GATE, MLFLOW_APP


def test_what_was_imported_is_out_of_the_garbage_collectors_sight():
    code = (
        "import gc; from tasks.mlflow_runs.server import create_app; app = create_app();"
        "print(gc.get_freeze_count(), len(gc.get_objects()), type(app).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=os.environ)
    frozen, seen, name = done.stdout.split()[-3:]
    assert int(frozen) > 100_000
    assert int(seen) < 0.05 * int(frozen)
    assert name == "FastAPI"


def test_mlflow_finds_both_applications_by_their_names():
    assert {MLFLOW_APP, GATE} <= {found.name for found in entry_points(group="mlflow.app")}
