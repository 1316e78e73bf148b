"""Tasks of a pipeline in addition to its stages: start model, MLflow run, registration of the model, and figures."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, Literal

from data_contracts.errors import InputError
from data_contracts.parameters import PipelineParameters
from data_contracts.report import read_report
from data_contracts.sources import AmassFiles, MotionFile, real_video_input
from data_contracts.store.checking import verify_input
from data_contracts.store.digests import PIPELINE, Input, stage_key
from data_contracts.store.folders import CHECKPOINT_FILE, SHIPPED, StageResult
from tasks.stage_runs.prefect_runs import task
from tasks.tracking.card import CARD_FILE, description_of, write_card
from tasks.tracking.models import LiftingModel, find_lifting_model
from tasks.tracking.names import CHALLENGER, CHAMPION, MODEL_NAME, PRESET_TAG, SOURCES_TAG, VERSION_TAG
from tasks.tracking.registry import aliased_versions, register_challenger, version_uri, write_training_data
from tasks.tracking.runs import TrackedRun, connect, track_pipeline
from tasks.tracking.scores import all_scores, model_scores

_SOURCES_LENGTH = 4000  # of a tag; PostgreSQL limits it to 5,000 characters


def model_to_start_from(store: Path, start: Literal["champion", "shipped"], window: int) -> LiftingModel:
    """Return the model that a pipeline run fine-tunes.

    The champion has its version number as URI, so that a promotion during the run has no effect on the run.

    Raises
    ------
    InputError
        The registry has no champion, or the model was trained on windows of another length than `window`.
    """
    model = find_lifting_model(store, _champion_uri(store) if start == CHAMPION else SHIPPED)
    from model.training.checkpoints import load_network, read_about  # PyTorch, which a cached run does not need

    trained = int(read_about(model.checkpoint).get("window") or load_network(model.checkpoint).config.max_frames)
    if trained != window:
        raise InputError(
            f"{model.uri}, the {start} model, was trained on windows of {trained} frames, but the data has {window}:"
            f" pass `--set convert.window={trained}` or `--start-from nothing`"
        )
    return model


def _champion_uri(store: Path) -> str:
    version = aliased_versions(connect(store)).get(CHAMPION)
    if version is None:
        raise InputError(
            f"the registry contains no {MODEL_NAME}@{CHAMPION} to start from: promote a version, or pass"
            " `--start-from shipped` or `--start-from nothing`"
        )
    return version_uri(version)


@contextmanager
def open_pipeline(
    store: Path,
    source: str | Sequence[str],
    files: Sequence[MotionFile] | AmassFiles,
    parameters: PipelineParameters,
    preset: str,
    start: LiftingModel | None = None,
    day: date | None = None,
) -> Iterator[TrackedRun]:
    """Yield the MLflow run of a pipeline; if an equal pipeline run was killed, resume its MLflow run.

    `files` are the motion files of `source`. The pipeline fine-tunes the model `start`, or pretrains a network if
    `start` is None. `day` is the day used as seed. `preset` is the name of the preset in the name and the tags of the
    run.
    """
    inputs: dict[str, Input] = {"source": files, **({"pretrained": start.checkpoint} if start else {})}
    inputs |= real_video_input(parameters.evaluate.real_video)  # a wrong folder is refused before the training
    key = stage_key(PIPELINE, inputs, parameters)
    with track_pipeline(store, key, preset) as tracked:
        optional = {"uplift.start_from": start and start.uri, "uplift.fresh": day and day.isoformat()}
        tracked.set_tags({PRESET_TAG: preset, SOURCES_TAG: _sources_text(source)})
        tracked.set_tags({tag: value for tag, value in optional.items() if value})
        yield tracked


def _sources_text(source: str | Sequence[str]) -> str:
    """Return absolute paths as JSON, without the last paths if the text is too long for a tag."""
    paths = [str(Path(path).absolute()) for path in ([source] if isinstance(source, str) else source)]
    while len(text := json.dumps(paths, ensure_ascii=False)) > _SOURCES_LENGTH:
        paths.pop()
    return text


@task(retried=True)
def register(
    store: Path, tracked: TrackedRun, stages: Mapping[str, StageResult], parameters: PipelineParameters
) -> dict[str, Any]:
    """Register the fine-tuned model as `@challenger` with its card, log the scores; return name, number and URI."""
    tuned, windows, report = (stages[name] for name in ("finetune", "convert", "evaluate"))
    verify_input(report.path)
    evaluation = read_report(report.path)
    scores, metrics = model_scores(evaluation), all_scores(evaluation)
    tracked.log_metrics({name: value for name, value in metrics.items() if name not in scores})
    checkpoint, flip = tuned.path / CHECKPOINT_FILE, parameters.evaluate.flip
    version = register_challenger(tracked, checkpoint, windows.digest, scores, flip)
    tracked.set_tags({VERSION_TAG: version.version})
    write_training_data(store, version)
    card = write_card(store, version, report.path, parameters.ingest.licence)
    tracked.client.update_model_version(MODEL_NAME, version.version, description_of(card))
    tracked.client.log_text(tracked.run_id, card, CARD_FILE)
    return {"name": MODEL_NAME, "version": int(version.version), "uri": f"models:/{MODEL_NAME}@{CHALLENGER}"}


@task()
def show_durations(store: Path, tracked: TrackedRun, stages: Mapping[str, StageResult]) -> str:
    """Log the duration of each stage and a figure of the last pipeline runs; return the file name of the figure."""
    from tasks.figures.durations import DURATIONS_FILE, SECONDS, durations_figure, recent_pipeline_runs, stage_seconds

    seconds_of = {name: 0.0 if result.cached else result.seconds for name, result in stages.items()}
    tracked.log_metrics({f"{SECONDS}{name}": seconds for name, seconds in seconds_of.items()})
    runs = recent_pipeline_runs(tracked.client, store, tracked.run_id)
    before = [(run.info.start_time / 1000, stage_seconds(run)) for run in runs]
    began = tracked.client.get_run(tracked.run_id).info.start_time / 1000
    tracked.log_figure(durations_figure([*before, (began, seconds_of)]), DURATIONS_FILE)
    return DURATIONS_FILE
