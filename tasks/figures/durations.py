"""How long each stage took, night by night: a picture that says which one grows."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.entities import Run

from data_contracts.run_names import PIPELINE
from data_contracts.store.digests import KINDS
from tasks.tracking.names import EXPERIMENT, STAGE_TAG, STORE_TAG, store_id

DURATIONS_PICTURE = "durations.png"
SECONDS = "seconds/"  # begins the names of a night's metrics, one for each stage; 0 where it was cached
NIGHTS = 30


def last_nights(client: MlflowClient, store: Path, apart_from: str) -> list[Run]:
    """The last pipeline runs of a store that have such metrics, the oldest first, without the one that goes on."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None, "connect() creates the experiment"
    wanted = f"tags.`{STAGE_TAG}` = '{PIPELINE}' and tags.`{STORE_TAG}` = '{store_id(store)}'"
    found = client.search_runs(
        [experiment.experiment_id], wanted, max_results=NIGHTS, order_by=["attributes.start_time DESC"]
    )
    return [run for run in reversed(found) if run.info.run_id != apart_from and durations_of(run)]


def durations_of(run: Run) -> dict[str, float]:
    """Seconds by stage, as the run has them."""
    return {name.removeprefix(SECONDS): took for name, took in run.data.metrics.items() if name.startswith(SECONDS)}


def durations(nights: Sequence[tuple[float, Mapping[str, float]]]) -> Figure:
    """Minutes of each stage on top of each other, a bar for each night.

    Parameters
    ----------
    nights
        When each began (seconds since 1970), and seconds by stage; the oldest first.
    """
    stages = [stage for stage in KINDS if any(took.get(stage) for _, took in nights)]
    figure = Figure(figsize=(max(6.0, 0.35 * len(nights) + 3), 4.5), layout="constrained")
    ax, below = figure.subplots(), [0.0] * len(nights)
    for number, stage in enumerate(stages):
        minutes = [took.get(stage, 0.0) / 60 for _, took in nights]
        ax.bar(range(len(nights)), minutes, bottom=below, label=stage, color=f"C{number}", width=0.8)
        below = [low + own for low, own in zip(below, minutes, strict=True)]
    names = [f"{datetime.fromtimestamp(began, UTC):%m-%d %H:%M}" for began, _ in nights]
    ax.set_xticks(range(len(nights)), names, rotation=90, fontsize=8)
    ax.set(ylabel="minutes at work; what was cached takes none")
    ax.set_title(f"the last {len(nights)} nights, UTC", fontsize=10)
    if stages:
        handles, labels = ax.get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], loc="outside right upper", fontsize=8)  # as they are stacked
    return figure
