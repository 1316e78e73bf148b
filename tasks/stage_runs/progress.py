"""Progress of a stage: a bar in a terminal, log lines elsewhere, and a progress artifact in the Prefect UI."""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task
from rich.text import Text

from data_contracts.text import printable
from tasks.stage_runs.prefect_runs import in_prefect_run, run_logger

LOG_SECONDS = 10.0
ARTIFACT_SECONDS = 5.0


class _Description(ProgressColumn):
    """Column of the progress bar with the description of a task: no markup, control characters escaped."""

    def render(self, task: Task) -> Text:
        return Text(printable(task.description))


def progress_bar(console: Console | None = None) -> Progress:
    """Return progress bars on stderr, one line per task; the lines disappear when the block ends."""
    return Progress(_Description(), BarColumn(), console=console or Console(stderr=True), transient=True)


class StageProgress:
    """Number of finished units of `total` in a stage, and of finished clips and frames.

    A thread sends the progress to Prefect, so a slow or stopped server does not delay or end the work.
    """

    def __init__(self, stage: str, unit: str, total: int | None, bar: Progress | None) -> None:
        self.stage, self.unit, self.total, self.bar = stage, unit, total, bar
        self.done = self.clips = self.frames = 0
        self.before = 0  # units that an earlier run did
        self.started = self.logged = self.uploaded = time.monotonic()
        self.log = run_logger()
        self.line = bar.add_task(self.describe(), total=total) if bar else None
        self.artifact: Any = None
        self.uploading: Future[None] | None = None
        self.uploader = ThreadPoolExecutor(1, f"{stage}-progress")
        if in_prefect_run():
            from prefect.artifacts import create_progress_artifact

            self.artifact = create_progress_artifact(0.0, key=f"{stage}-progress", description=self.describe())

    def advance(self, units: int, clips: int = 0, frames: int = 0) -> None:
        """Add finished units, clips and frames."""
        self.done, self.clips, self.frames = self.done + units, self.clips + clips, self.frames + frames
        self._display()

    def reach(self, done: int, total: int) -> None:
        """Set the number of finished units and the total, e.g. if an earlier run has finished some units."""
        if self.total is None:
            self.before, self.started = max(0, done - 1), time.monotonic()
        self.done, self.total = done, total
        self._display()

    def finish(self) -> None:
        """Set the progress to 100 %, even if fewer units than `total` are finished."""
        self.total = self.done
        self.log.info(self.describe())
        self._upload(100.0)

    def describe(self) -> str:
        """Return one line with finished units and clips, speed and remaining time."""
        if self.total is None:
            return f"{self.stage}: starting"
        seconds = max(time.monotonic() - self.started, 1e-3)
        words = [f"{self.stage}: {self.done:,} of {self.total:,} {self.unit}"]
        if self.frames:
            words += [f"{self.clips:,} clips", f"{self.frames / seconds:,.0f} frames/s"]
        here = self.done - self.before
        if here > 0 and self.done < self.total:
            words.append(f"{duration(seconds / here * (self.total - self.done))} left")
        return ", ".join(words)

    def _display(self) -> None:
        now = time.monotonic()
        if self.bar is not None and self.line is not None:
            self.bar.update(self.line, completed=self.done, total=self.total, description=self.describe())
        elif now - self.logged >= LOG_SECONDS:
            self.logged = now
            self.log.info(self.describe())
        if now - self.uploaded >= ARTIFACT_SECONDS and (self.uploading is None or self.uploading.done()):
            self.uploaded = now
            self._upload(min(99.0, 100 * self.done / (self.total or 1)))

    def _upload(self, percent: float) -> None:
        if self.artifact is not None:
            self.uploading = self.uploader.submit(copy_context().run, self._update_artifact, percent, self.describe())

    def _update_artifact(self, percent: float, description: str) -> None:
        import httpx
        from prefect.artifacts import update_progress_artifact

        try:
            update_progress_artifact(self.artifact, percent, description)
        except httpx.HTTPError as error:
            self.log.warning(f"{self.stage}: Prefect did not store the progress ({error!r}); the work continues")


@contextmanager
def report_progress(stage: str, unit: str, total: int | None = None) -> Iterator[StageProgress]:
    """Display the progress of a stage while the block runs.

    The progress is a bar if stderr is a terminal, else a log line every `LOG_SECONDS`. A flow or task run also has an
    artifact `<stage>-progress`, which keeps its last value if the block raises. If `total`, the number of units, is
    None, the work sets it when it starts (`StageProgress.reach`).
    """
    with ExitStack() as stack:
        bar = stack.enter_context(progress_bar()) if sys.stderr.isatty() else None
        progress = StageProgress(stage, unit, total, bar)
        stack.callback(progress.uploader.shutdown)
        yield progress
        progress.finish()


def duration(seconds: float) -> str:
    """Return a duration as minutes and seconds (2:05), or hours, minutes and seconds (1:02:05)."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
