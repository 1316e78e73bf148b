import os
import subprocess
import sys
from pathlib import Path

import pytest

from data_contracts.machine import free_memory, local_processes, program, usable_cores

ROOT = Path(__file__).parent.parent.parent


def test_an_affinity_of_one_core_leaves_one():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no affinity")
    core = min(os.sched_getaffinity(0))
    pinned = f"import os; os.sched_setaffinity(0, {{{core}}}); from data_contracts.machine import usable_cores as u"
    done = subprocess.run([sys.executable, "-c", f"{pinned}; print(u())"], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "1", done.stderr


def test_this_machine_has_a_core_and_memory():
    assert 1 <= usable_cores() <= os.cpu_count()
    assert free_memory() > 0


def test_processes_of_torch_distributed_run_are_counted_and_no_others(monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")  # as some clusters set it for whatever they start
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert local_processes() == 1
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert local_processes() == 4


@pytest.mark.parametrize("module", ["flows.cli", "flows.pipeline"])
def test_another_system_is_refused_in_one_sentence(module):
    script = f"import sys; sys.platform = 'win32'; import {module}"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "pose-uplift runs on Linux and macOS, not on win32; on Windows, use WSL\n"


def test_programs_of_the_environment_are_named_from_here(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv/bin/python"))
    monkeypatch.chdir(tmp_path)
    assert program("uplift") == ".venv/bin/uplift"
    (tmp_path / "else where").mkdir()
    monkeypatch.chdir(tmp_path / "else where")
    assert program("uplift") == str(tmp_path / ".venv/bin/uplift")
