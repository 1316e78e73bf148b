"""Sequence numbers increase whatever the clock shows, in all processes, and after the loss of their file."""

import json
import subprocess
import sys
import time

import pytest

from data_contracts.parameters import SyntheticParameters
from data_contracts.store.digests import StageKey
from data_contracts.store.folders import open_stage
from data_contracts.store.manifests import read_manifest
from data_contracts.store.sequence import manifest_sequence, next_sequence

DAY = 86_400_000
MANY = "import sys; from pathlib import Path; from data_contracts.store.sequence import next_sequence\n"
MANY += "print([next_sequence(Path(sys.argv[1])) for _ in range(200)])"


@pytest.fixture
def clock(monkeypatch):
    """Set the clock to a number of days before now."""
    now = time.time_ns()

    def set_back(days: float) -> None:
        monkeypatch.setattr(time, "time_ns", lambda: now - int(days * DAY * 1e6))

    return set_back


def make(store, seed: int) -> dict:
    with open_stage(store, StageKey("clips", "ingest", SyntheticParameters(seed=seed), {})) as stage:
        pass
    return read_manifest(stage.folder)


def test_numbers_increase_while_the_clock_is_two_days_back(tmp_path, clock):
    clock(0)
    first = manifest_sequence(make(tmp_path, 0))
    clock(2)
    second, third = (manifest_sequence(make(tmp_path, seed)) for seed in (1, 2))
    clock(-2)
    last = manifest_sequence(make(tmp_path, 3))
    assert first < second < third < last
    assert last - third > DAY


@pytest.mark.parametrize("damage", ["", "12x"])
def test_numbers_increase_after_the_loss_of_their_file(tmp_path, clock, damage):
    clock(0)
    number = manifest_sequence(make(tmp_path, 0))
    clock(2)
    (tmp_path / ".sequence").write_text(damage) if damage else (tmp_path / ".sequence").unlink()
    assert next_sequence(tmp_path) > number


def test_processes_never_get_the_same_number(tmp_path):
    processes = [
        subprocess.Popen([sys.executable, "-c", MANY, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    lists = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    assert all(numbers == sorted(numbers) for numbers in lists)
    assert len({number for numbers in lists for number in numbers}) == 600


def test_a_manifest_of_an_earlier_version_is_ordered_by_its_time():
    assert manifest_sequence({"created": "1970-01-01T00:00:01Z"}) == 2000
