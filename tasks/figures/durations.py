"""Draw the duration of each stage in the last pipeline runs, to show which stage grows."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.entities import Run

from data_contracts.store.digests import KINDS, PIPELINE
from tasks.tracking.names import EXPERIMENT, STAGE_TAG, STORE_TAG, store_id

DURATIONS_FILE = "durations.png"
SECONDS = "seconds/"  # prefix of the duration metrics of a pipeline run, one per stage; 0 for a cached stage
MAX_RUNS = 30


def recent_pipeline_runs(client: MlflowClient, store: Path, exclude: str) -> list[Run]:
    """Return the last pipeline runs of a store with duration metrics, oldest first, without the run id `exclude`."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None, "connect() creates the experiment"
    query = f"tags.`{STAGE_TAG}` = '{PIPELINE}' and tags.`{STORE_TAG}` = '{store_id(store)}'"
    runs = client.search_runs(
        [experiment.experiment_id], query, max_results=MAX_RUNS, order_by=["attributes.start_time DESC"]
    )
    return [run for run in reversed(runs) if run.info.run_id != exclude and stage_seconds(run)]


def stage_seconds(run: Run) -> dict[str, float]:
    """Return the seconds of each stage from the metrics of a pipeline run."""
    metrics = run.data.metrics.items()
    return {name.removeprefix(SECONDS): seconds for name, seconds in metrics if name.startswith(SECONDS)}


def durations_figure(runs: Sequence[tuple[float, Mapping[str, float]]]) -> Figure:
    """Draw one stacked bar per pipeline run with the minutes of each stage.

    `runs` has one pair per run, oldest first: start time (seconds since 1970), and duration in seconds by stage.
    """
    stages = [stage for stage in KINDS if any(seconds.get(stage) for _, seconds in runs)]
    figure = Figure(figsize=(max(6.0, 0.35 * len(runs) + 3), 4.5), layout="constrained")
    ax, bottom = figure.subplots(), [0.0] * len(runs)
    for number, stage in enumerate(stages):
        minutes = [seconds.get(stage, 0.0) / 60 for _, seconds in runs]
        ax.bar(range(len(runs)), minutes, bottom=bottom, label=stage, color=f"C{number}", width=0.8)
        bottom = [low + own for low, own in zip(bottom, minutes, strict=True)]
    names = [f"{datetime.fromtimestamp(start, UTC):%m-%d %H:%M}" for start, _ in runs]
    ax.set_xticks(range(len(runs)), names, rotation=90, fontsize=8)
    ax.set(ylabel="minutes (0 for cached stages)")
    ax.set_title(f"Last {len(runs)} pipeline runs, UTC", fontsize=10)
    if stages:
        handles, labels = ax.get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], loc="outside right upper", fontsize=8)  # in the order of the stack
    return figure
