"""Progress of a stage: description, remaining time, and failures of the Prefect server."""

import io
import logging
import threading

import httpx
import pytest
from rich.console import Console

from tasks.stage_runs import progress as module
from tasks.stage_runs.progress import StageProgress, progress_bar, report_progress


def test_progress_describes_the_finished_units_and_works_outside_a_run():
    with report_progress("convert", "batches", total=4) as progress:
        progress.advance(1, clips=3, frames=1000)
        assert progress.describe().startswith("convert: 1 of 4 batches, 3 clips, ")
        assert "frames/s" in progress.describe()
        assert progress.describe().endswith(" left")
        progress.advance(3, clips=9, frames=2000)
    assert (progress.done, progress.clips, progress.frames) == (4, 12, 3000)


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that the test sets."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_the_remaining_time_of_resumed_work_uses_the_current_speed(clock):
    progress = StageProgress("pretrain", "steps", None, None)
    assert progress.describe() == "pretrain: starting"
    clock[0] += 50  # windows are loaded
    progress.reach(7001, 9000)
    clock[0] += 100
    progress.reach(7100, 9000)
    assert progress.describe() == "pretrain: 7,100 of 9,000 steps, 31:40 left"
    progress.reach(7101, 900_000)
    assert progress.describe().endswith(" left")


def test_work_that_stops_early_reports_only_finished_units():
    with report_progress("pretrain", "steps") as progress:
        progress.reach(30, 100)
    assert progress.describe() == "pretrain: 30 of 30 steps"


def test_work_that_fails_keeps_its_last_progress():
    with pytest.raises(ZeroDivisionError), report_progress("ingest", "bytes", total=200) as progress:
        progress.advance(50)
        raise ZeroDivisionError
    assert (progress.done, progress.total) == (50, 200)


def test_a_stopped_or_slow_server_neither_ends_nor_delays_the_work(clock, monkeypatch, caplog):
    requests, answer = [], threading.Event()

    def fail(*_):
        requests.append(clock[0])
        answer.wait(30)
        raise httpx.ConnectError("refused")

    monkeypatch.setattr("prefect.artifacts.update_progress_artifact", fail)
    with report_progress("pretrain", "steps", 100) as progress:
        progress.artifact, progress.log = "its id", logging.getLogger("here")
        for _ in range(100):
            clock[0] += 1
            progress.advance(1)
        assert progress.done == 100
        assert len(requests) == 1  # the server has not answered the first request yet
        answer.set()
    assert len(requests) == 2  # the second one reports the end
    assert "the work continues" in caplog.text


def test_a_bar_displays_names_without_markup():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with progress_bar(console) as bar:
        bar.add_task("check [red]run[/red] [1]", total=1)
    assert "check [red]run[/red] [1]" in console.file.getvalue()
