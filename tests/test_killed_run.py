"""A test run that receives SIGKILL leaves no process."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent
TEST = """
import os, pathlib, sys, time
from tests.ports import free_port
from tests.servers import serving

def test_waits(tmp_path):
    port = free_port()
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    with serving(command, port, "/", tmp_path / "server.log", os.environ):
        pathlib.Path("new").write_text(str(os.getpid()))
        pathlib.Path("new").rename("waiting")
        time.sleep(600)
"""


def test_a_killed_process_of_a_run_leaves_no_server(tmp_path):
    (tmp_path / "test_waiting.py").write_text(TEST)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--numprocesses", "1", "test_waiting.py"]
    command += ["--max-worker-restart", "0", "--basetemp", str(tmp_path / "temporary")]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    variables |= {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    with (tmp_path / "output").open("w") as output:
        run = subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=output, stderr=output)
    deadline = time.monotonic() + 180
    while not (tmp_path / "waiting").exists():
        assert run.poll() is None, (tmp_path / "output").read_text()
        assert time.monotonic() < deadline, (tmp_path / "output").read_text()
        time.sleep(0.2)
    starter = psutil.Process(int((tmp_path / "waiting").read_text()))
    processes = starter.children(recursive=True)
    assert len(processes) >= 2  # the server and its guard
    starter.kill()
    run.wait(60)
    _, alive = psutil.wait_procs(processes, timeout=60)
    assert alive == []
