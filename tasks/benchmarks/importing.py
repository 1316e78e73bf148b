"""Import a benchmark that the user has: check its files, and write its test clips as a stage of the store."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from data_contracts.benchmarks.clips import BenchmarkClip, check_clip, clip_file, write_clip
from data_contracts.benchmarks.files import BenchmarkFiles
from data_contracts.benchmarks.protocols import PROTOCOLS, Benchmark
from data_contracts.errors import InputError, some
from data_contracts.parameters import KeypointsParameters, PipelineParameters
from data_contracts.skeleton import JOINTS
from data_contracts.store.folders import Stage, StageResult
from tasks.benchmarks.h36m import read_h36m
from tasks.benchmarks.mpi_inf_3dhp import read_3dhp
from tasks.benchmarks.three_dpw import read_3dpw
from tasks.stage import Context, StageTask, get_or_compute
from tasks.stage_runs.progress import report_progress

if TYPE_CHECKING:
    from tasks.tracking.runs import TrackedRun

READERS: Mapping[Benchmark, Callable[[BenchmarkFiles, KeypointsParameters], Iterator[BenchmarkClip]]] = {
    Benchmark.THREE_DPW: read_3dpw,
    Benchmark.MPI_INF_3DHP: read_3dhp,
    Benchmark.H36M: read_h36m,
}


def import_files(context: Context, source: BenchmarkFiles) -> StageResult:
    """Import the files of a benchmark, or return the import that is in the store; MLflow does not record it.

    Raises
    ------
    InputError
        A file is damaged, has a wrong layout, or its 2D keypoints and 3D truth do not belong together.
    """
    stage = StageTask("benchmark", _import_clips, parameters="keypoints")
    return get_or_compute(stage, {"source": source}, replace(context, tracked=False))


def _import_clips(
    stage: Stage, _tracked: "TrackedRun | None", parameters: PipelineParameters, source: BenchmarkFiles
) -> None:
    """Write the clips of a benchmark; its manifest has the benchmark, its licence page, and the facts of each clip."""
    clips = []
    with report_progress(stage.name, "clips") as progress:
        for number, clip in enumerate(READERS[source.benchmark](source, parameters.keypoints)):
            try:
                check_clip(clip)
            except InputError as error:
                raise InputError(f"{source.folder}: {error}") from error
            write_clip(clip, stage.folder / clip_file(number))
            clips.append(_facts(clip))
            progress.advance(1)
    if not clips:
        raise InputError(f"{source.folder}: no clip of {source.benchmark} has scored frames; pass its test set")
    stage.counts |= {"clips": len(clips), **{name: sum(clip[name] for clip in clips) for name in ("frames", "scored")}}
    stage.statistics |= {
        "benchmark": source.benchmark,
        "source": [str(file.relative_to(source.folder)) for file in source.files],
        "licence": PROTOCOLS[source.benchmark].page,
        "subjects": sorted({clip["subject"] for clip in clips}),
        "clips": clips,
    }


def _facts(clip: BenchmarkClip) -> dict[str, Any]:
    return {
        **{name: getattr(clip, name) for name in ("name", "subject", "group", "fps")},
        "frames": len(clip.scored),
        "scored": int(clip.scored.sum()),
        "undetected": int((clip.scored & ~clip.detected).sum()),
    }


def protocol_lines(imported: dict[str, Any]) -> list[str]:
    """Return the protocol in words, from the statistics of an import: data, joints and input."""
    protocol, clips = PROTOCOLS[Benchmark(imported["benchmark"])], imported["clips"]
    scored, undetected = (sum(clip[name] for clip in clips) for name in ("scored", "undetected"))
    rates = ", ".join(f"{rate:g}" for rate in sorted({clip["fps"] for clip in clips}))
    files = imported["source"]
    found = {f"{clip['subject']} {clip['group']}" if protocol.by_action else clip["group"] for clip in clips}
    missing, others = protocol.parts - found, sorted(found - protocol.parts)
    return [
        f"protocol: {protocol.title}; mean over {f'the {protocol.group}s' if protocol.by_action else 'all frames'}",
        *([f"incomplete: {len(found) - len(others)} of {len(protocol.parts)} {protocol.group}s"] if missing else []),
        *([f"not in the protocol: {some(others)}"] if others else []),
        f"joints: {'all 17' if protocol.joints == JOINTS else ', '.join(protocol.joints)} ({protocol.joints_note})",
        f"input: {', '.join(files) if len(files) < 3 else f'{len(files)} files'}; {rates} frames per second; {scored:,}"
        f" frames scored, {undetected:,} of them without 2D keypoints (with interpolated poses)",
    ]
