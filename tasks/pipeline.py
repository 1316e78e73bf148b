"""What a pipeline adds to its stages: its parent run, and the registration of what came out."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from data_contracts.errors import some
from data_contracts.parameters import PipelineParameters
from data_contracts.report import StageResult, read_report
from data_contracts.sources import MotionFile
from data_contracts.store import identities
from data_contracts.store.checking import verify_input
from data_contracts.store.folders import CHECKPOINT_FILE
from data_contracts.store.manifests import read_manifest
from tasks.promotion.training_subjects import write_learned
from tasks.stage_runs.prefect_runs import run_logger, task
from tasks.tracking.card import CARD_FILE, description_of, write_card
from tasks.tracking.models import LiftingModel
from tasks.tracking.names import CHALLENGER, MODEL_NAME, VERSION_TAG
from tasks.tracking.registry import register_challenger
from tasks.tracking.runs import TrackedRun, track_pipeline
from tasks.tracking.scores import all_scores, model_scores
from tasks.viewer.clip_sets import ClipSet
from tasks.viewer.data_page import log_data_page


@contextmanager
def open_pipeline(
    store: Path,
    files: Sequence[MotionFile],
    parameters: PipelineParameters,
    start: LiftingModel | None = None,
    day: date | None = None,
) -> Iterator[TrackedRun]:
    """The pipeline's parent run in MLflow; one that was killed is taken up again.

    Parameters
    ----------
    start
        What is fine-tuned instead of a network that is pretrained here.
    day
        Whose seeds the parameters have.
    """
    identity = identities.pipeline(files, parameters, start.checkpoint if start else None)
    with track_pipeline(store, identity) as tracked:
        told = {"uplift.start_from": start and start.uri, "uplift.fresh": day and day.isoformat()}
        tracked.set_tags({"uplift.source": some([str(file.path) for file in files])})
        tracked.set_tags({tag: value for tag, value in told.items() if value})
        yield tracked


@task(retried=True)
def show_data(store: Path, tracked: TrackedRun, clips: StageResult) -> None:
    """Put the page of the clips beside the champion's on the pipeline's own run, and warn of what moved."""
    for line in log_data_page(store, tracked, ClipSet.read(clips.path)):
        run_logger().warning(line)


@task(retried=True)
def register(
    store: Path,
    tracked: TrackedRun,
    tuned: StageResult,
    windows: StageResult,
    report: StageResult,
    flip: bool,
    licence: str | None,
) -> dict[str, Any]:
    """Register the fine-tuned model as `@challenger`, with its card, and put the scores on the pipeline's own run."""
    verify_input(report.path)
    scored = read_report(report.path)
    of_model, of_all = model_scores(scored), all_scores(scored)
    tracked.log_metrics({name: value for name, value in of_all.items() if name not in of_model})
    version = register_challenger(
        tracked, tuned.path / CHECKPOINT_FILE, windows.digest, _window(windows), of_model, flip
    )
    tracked.set_tags({VERSION_TAG: version.version})
    write_learned(store, version)
    card = write_card(store, version, report.path, licence)
    tracked.client.update_model_version(MODEL_NAME, version.version, description_of(card))
    tracked.client.log_text(tracked.run_id, card, CARD_FILE)
    return {"name": MODEL_NAME, "version": int(version.version), "uri": f"models:/{MODEL_NAME}@{CHALLENGER}"}


@task()
def show_durations(tracked: TrackedRun, store: Path, stages: Mapping[str, StageResult]) -> str:
    """Put on the pipeline's own run how long each stage took, and a picture of the last nights; returns its file."""
    from tasks.figures.durations import DURATIONS_PICTURE, SECONDS, durations, durations_of, last_nights

    took = {name: 0.0 if result.cached else result.seconds for name, result in stages.items()}
    tracked.log_metrics({f"{SECONDS}{name}": seconds for name, seconds in took.items()})
    before = [
        (run.info.start_time / 1000, durations_of(run)) for run in last_nights(tracked.client, store, tracked.run_id)
    ]
    began = tracked.client.get_run(tracked.run_id).info.start_time / 1000
    tracked.log_figure(durations([*before, (began, took)]), DURATIONS_PICTURE)
    return DURATIONS_PICTURE


def _window(windows: StageResult) -> int:
    return int(read_manifest(windows.path)["parameters"]["window"])
