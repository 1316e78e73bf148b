"""A part that is killed, or fails late, is started again; one that ends soon by itself, or was told to end, is not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from flows.stack import restarting
from flows.stack.settings import ROOT

KEEP = (
    "import sys; from flows.stack import restarting; restarting.SETTLED_SECONDS = float(sys.argv[2]);"
    " sys.exit(restarting.keep('prefect', sys.argv[3:], float(sys.argv[1])))"
)


def part(folder: Path, ends: str) -> list[str]:
    """A part that writes down that it began, starts a process of its own, and ends so."""
    code = (
        "import os, pathlib, signal, subprocess, sys, time\n"
        f"began = pathlib.Path({str(folder)!r}) / f'began-{{time.monotonic_ns()}}'\n"
        "own = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "began.write_text(f'{os.getpid()} {own.pid} ' + os.environ['UPLIFT_PART'])\n"
        f"times = len(list(began.parent.glob('began-*')))\n{ends}\nown.kill()\n"
    )
    return [sys.executable, "-c", code]


def began(folder: Path) -> list[list[str]]:
    return [file.read_text().split() for file in sorted(folder.glob("began-*")) if file.read_text()]


def keep(folder: Path, ends: str, seconds: float = 0.0, settled: float = 60.0) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", KEEP, str(seconds), str(settled), *part(folder, ends)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_a_killed_part_is_started_again_and_nothing_is_left_of_it(tmp_path):
    kept = keep(tmp_path, "if times < 3: os.kill(os.getpid(), signal.SIGKILL)")
    said, _ = kept.communicate(timeout=120)
    assert kept.returncode == 0
    assert said.count("prefect was killed (SIGKILL); it is started again") == 2
    assert len(began(tmp_path)) == 3
    for _, own, name in began(tmp_path):
        assert name == "prefect"
        assert not psutil.pid_exists(int(own)) or psutil.Process(int(own)).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("ends", ["own.kill(); sys.exit(3)", "own.kill(); os.kill(os.getpid(), signal.SIGTERM)"])
def test_one_that_ended_by_itself_or_was_told_to_is_not_started_again(tmp_path, ends):
    kept = keep(tmp_path, ends)
    kept.communicate(timeout=120)
    assert kept.returncode == (3 if "exit" in ends else 0)
    assert len(began(tmp_path)) == 1


def test_one_that_failed_after_it_had_been_well_is_started_again_though_it_fails_at_once_then(tmp_path):
    kept = keep(tmp_path, "time.sleep(0 if times > 1 else 2); own.kill(); sys.exit(3 if times < 4 else 0)", settled=1.5)
    said, _ = kept.communicate(timeout=240)
    assert kept.returncode == 0
    assert len(began(tmp_path)) == 4
    assert said.count("prefect failed (exit code 3); it is started again") == 3


def test_one_that_is_killed_again_and_again_ends_everything(tmp_path):
    kept = keep(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    said, _ = kept.communicate(timeout=240)
    assert kept.returncode == 128 + signal.SIGKILL
    assert len(began(tmp_path)) == restarting.AT_MOST + 1
    assert "times within an hour" in said


def test_who_keeps_a_part_passes_on_that_it_is_to_end(tmp_path):
    kept = keep(tmp_path, "signal.signal(signal.SIGTERM, lambda *_: (own.kill(), sys.exit(0))); time.sleep(600)")
    for _ in range(600):
        if began(tmp_path):
            break
        time.sleep(0.1)
    time.sleep(1)  # until it listens
    kept.terminate()
    assert kept.wait(60) == 0
    assert not psutil.pid_exists(int(began(tmp_path)[0][0]))


def test_while_it_waits_to_start_a_part_again_it_ends_at_once(tmp_path):
    kept = keep(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)", seconds=300)
    assert kept.stdout is not None
    assert "was killed" in kept.stdout.readline()
    os.kill(kept.pid, signal.SIGTERM)
    assert kept.wait(60) == 0
    kept.stdout.close()
