"""How far a stage is: a bar where a person watches, log lines elsewhere, and a progress artifact in the Prefect UI.

with report_progress("convert", total=batches, unit="batches") as progress:
    for batch in ...:
        progress.advance(1, clips=25, frames=16_384)
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging import get_logger, get_run_logger
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

LOG_SECONDS = 10.0
ARTIFACT_SECONDS = 2.0


class StageProgress:
    """What a stage has done of `total` units; `advance` shows it, no more often than is worth while."""

    def __init__(self, stage: str, total: int, unit: str, bar: Progress | None) -> None:
        self.stage, self.total, self.unit, self.bar = stage, total, unit, bar
        self.done = self.clips = self.frames = 0
        self.started = self.logged = self.uploaded = time.monotonic()
        self.in_run = bool(FlowRunContext.get() or TaskRunContext.get())
        self.log = get_run_logger() if self.in_run else get_logger(stage)
        self.line = bar.add_task(self.describe(), total=total) if bar else None
        self.artifact: Any = None
        if self.in_run:
            self.artifact = create_progress_artifact(0.0, key=f"{stage}-progress", description=self.describe())

    def advance(self, done: int, clips: int = 0, frames: int = 0) -> None:
        """`done` more units are complete, and with them so many clips and frames."""
        self.done, self.clips, self.frames = self.done + done, self.clips + clips, self.frames + frames
        now = time.monotonic()
        if self.bar is not None and self.line is not None:
            self.bar.update(self.line, completed=self.done, description=self.describe())
        elif now - self.logged >= LOG_SECONDS:
            self.logged = now
            self.log.info(self.describe())
        if now - self.uploaded >= ARTIFACT_SECONDS:
            self.uploaded = now
            self._upload(min(99.0, 100 * self.done / self.total))

    def finish(self) -> None:
        """All is done, whatever `total` promised."""
        self.done = self.total
        self.log.info(self.describe())
        self._upload(100.0)

    def describe(self) -> str:
        """One line: units and clips done, frames per second, and how long the rest will take."""
        seconds = max(time.monotonic() - self.started, 1e-3)
        percent = f"{100 * self.done / self.total:.0f} %"
        words = [f"{self.stage}: " + (f"{self.done:,} of {self.total:,} {self.unit}" if self.unit else percent)]
        words += [f"{self.clips:,} clips", f"{self.frames / seconds:,.0f} frames/s"]
        if 0 < self.done < self.total:
            minutes, rest = divmod(round(seconds * (self.total / self.done - 1)), 60)
            words.append(f"{minutes}:{rest:02d} left")
        return ", ".join(words)

    def _upload(self, percent: float) -> None:
        if self.artifact is not None:
            update_progress_artifact(self.artifact, percent, self.describe())


@contextmanager
def report_progress(stage: str, total: int, unit: str = "") -> Iterator[StageProgress]:
    """Show how far a stage is while the block runs.

    A bar where stderr is a terminal, else a log line every `LOG_SECONDS`. In a flow or task run also an artifact
    `<stage>-progress`, which stays at what it reached where the block raises.

    Parameters
    ----------
    stage
        Name of the stage.
    total
        How much there is to do.
    unit
        What `total` counts, such as batches; without one, the share done is shown in percent.
    """
    if sys.stderr.isatty():
        with Progress(
            TextColumn("{task.description}"), BarColumn(), console=Console(stderr=True), transient=True
        ) as bar:
            progress = StageProgress(stage, total, unit, bar)
            yield progress
    else:
        progress = StageProgress(stage, total, unit, None)
        yield progress
    progress.finish()
