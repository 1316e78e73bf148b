"""A test run that receives SIGKILL leaves no process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parent.parent
WAITING = """
import os, pathlib, time

pytest_plugins = ["tests.flows.conftest"]

def test_waits(prefect_api):
    pathlib.Path("waiting").write_text(str(os.getpid()))
    time.sleep(600)
"""


@pytest.mark.parametrize("killed", ["pytest", "worker"])
def test_a_killed_run_leaves_no_server(tmp_path, killed):
    """The run has one worker of xdist, which starts the Prefect server of the flow tests."""
    (tmp_path / "test_waiting.py").write_text(WAITING)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--numprocesses", "1"]
    command += ["--max-worker-restart", "0", "--basetemp", str(tmp_path / "temporary"), "test_waiting.py"]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    variables["PYTHONPATH"] = str(ROOT)
    with (tmp_path / "output").open("w") as output:
        run = subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=output, stderr=output)
        while not (tmp_path / "waiting").exists():
            assert run.poll() is None, (tmp_path / "output").read_text()
            psutil.wait_procs([psutil.Process(run.pid)], timeout=0.2)
        processes = psutil.Process(run.pid).children(recursive=True)
        assert any("server" in process.cmdline() for process in processes)
        worker = int((tmp_path / "waiting").read_text())
        os.kill(run.pid if killed == "pytest" else worker, signal.SIGKILL)
        run.wait(120)
    _, alive = psutil.wait_procs(processes, timeout=60)
    assert alive == []
