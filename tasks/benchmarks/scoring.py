"""Score a model on an imported benchmark by its protocol, as a cached stage."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from data_contracts.benchmarks.clips import clip_file, read_clip
from data_contracts.benchmarks.protocols import PROTOCOLS, Benchmark
from data_contracts.benchmarks.scores import BenchmarkScores, weighted_mean, with_mean
from data_contracts.labelled_scores import MEAN
from data_contracts.parameters import LiftParameters, PipelineParameters
from data_contracts.store.folders import Stage, StageResult, resolve
from data_contracts.store.manifests import read_manifest
from model.lifting.lift import DEFAULT_HEIGHT_M
from model.lifting.lifter import load_lifter
from model.scoring.benchmarks import score_clip
from model.training.devices import choose_device
from tasks.benchmarks.importing import protocol_lines
from tasks.stage import Context, StageTask, get_or_compute
from tasks.stage_runs.progress import report_progress
from tasks.tracking.models import LiftingModel, find_lifting_model

if TYPE_CHECKING:
    from tasks.tracking.runs import TrackedRun


def score_benchmark(context: Context, benchmark: str, model: str) -> StageResult:
    """Score a model on an imported benchmark, or return the scores that the store has.

    `benchmark` is the folder or digest of the import, `model` a reference as in `find_lifting_model`. The returned
    statistics name this model; the stored statistics do not, because several references can have the same weights.

    Raises
    ------
    InputError
        The import or the model does not exist, or a file of it is damaged.
    """
    folder, found = resolve(context.store, "benchmarks", benchmark), find_lifting_model(context.store, model)
    options = context.parameters.lift
    flip = found.flip if options.flip is None else options.flip
    options = options.model_copy(update={"flip": flip, "causal": False})  # causal has no effect here
    context = replace(context, parameters=context.parameters.model_copy(update={"lift": options}))
    stage = StageTask("score", partial(_score_clips, found), parameters="lift")
    result = get_or_compute(stage, {"benchmark": folder, "checkpoint": found.checkpoint}, context)
    return result.model_copy(update={"statistics": result.statistics | {"model": found.uri}})


def _score_clips(
    model: LiftingModel,
    stage: Stage,
    tracked: "TrackedRun | None",
    parameters: PipelineParameters,
    benchmark: Path,
    checkpoint: Path,
) -> None:
    """Score the clips of an import; the manifest has the scores of each group of clips and their mean."""
    imported, options = read_manifest(benchmark)["statistics"], parameters.lift
    protocol = PROTOCOLS[Benchmark(imported["benchmark"])]
    lifter = load_lifter(checkpoint, bool(options.flip)).to(choose_device(parameters.runtime))
    groups: dict[str, list[BenchmarkScores]] = {}
    with report_progress(stage.name, "clips", total=len(imported["clips"])) as progress:
        for number, facts in enumerate(imported["clips"]):
            clip = read_clip(
                benchmark / clip_file(number), *(facts[name] for name in ("name", "subject", "group", "fps"))
            )
            groups.setdefault(clip.group, []).append(score_clip(lifter, clip, protocol.indices, options))
            progress.advance(1)
    scores = with_mean({group: weighted_mean(clips) for group, clips in groups.items()}, protocol.by_action)
    stage.counts |= {"clips": len(imported["clips"]), "frames": scores[MEAN].frames}
    stage.statistics |= {
        "protocol": [*protocol_lines(imported), _alignment(options)],
        "benchmark_scores": {group: one.model_dump() for group, one in scores.items()},
    }
    if tracked:
        tracked.log_model_input(model.logged_model_id)
        values = scores[MEAN].model_dump(exclude={"frames"})
        tracked.log_metrics({f"{imported['benchmark']}/{name}": value for name, value in values.items()})


def _alignment(options: LiftParameters) -> str:
    height = options.height or DEFAULT_HEIGHT_M
    return (
        f"alignment: at the pelvis, without rotation; the body is {height:.2f} m tall or, for the true distance, has"
        " the size of its image at the true distance of the pelvis; poses of the network, without the smoothing and fit"
        " of `uplift lift`"
    )
