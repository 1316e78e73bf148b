"""Keys of the stages: each function returns the key of one stage, with the digests of its inputs."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from data_contracts.parameters import (
    BaselinesParameters,
    ConvertParameters,
    EvaluateParameters,
    FinetuneParameters,
    IngestParameters,
    KeypointsParameters,
    LiftParameters,
    PipelineParameters,
    PretrainParameters,
    SyntheticParameters,
)
from data_contracts.run_names import PIPELINE
from data_contracts.sources import KeypointSource, MotionFile, data_name
from data_contracts.store.digests import StageKey, file_digest, known_digest
from data_contracts.store.manifests import read_manifest


def synthesise(parameters: SyntheticParameters) -> StageKey:
    """Return the key of synthetic motion: it depends on its parameters only."""
    return StageKey("synthetic", "synthesise", parameters, {})


def ingest(files: Sequence[MotionFile], parameters: IngestParameters) -> StageKey:
    """Return the key of clips: the inputs are the bytes of every motion file and clip list, in order."""
    paths = [path for file in files for path in (file.path, file.clip_list) if path]
    return StageKey("clips", "ingest", parameters, _motion(files), data=data_name(files), paths=tuple(paths))


def convert(clips: Path, parameters: ConvertParameters) -> StageKey:
    """Return the key of windows: the input is the folder of clips."""
    return StageKey("windows", "convert", parameters, {"clips": _digest(clips)}, paths=(clips,))


def pretrain(windows: Path, parameters: PretrainParameters) -> StageKey:
    """Return the key of a pretrained network: the input is the windows."""
    return StageKey("runs", "pretrain", parameters, {"windows": _digest(windows)}, paths=(windows,))


def finetune(windows: Path, checkpoint: Path, parameters: FinetuneParameters) -> StageKey:
    """Return the key of a fine-tuned network: the inputs are the windows and the bytes of the pretrained checkpoint."""
    inputs = {"windows": _digest(windows), "pretrained": file_digest(checkpoint)}
    return StageKey("runs", "finetune", parameters, inputs, paths=(windows, checkpoint))


def baselines(windows: Path, parameters: BaselinesParameters) -> StageKey:
    """Return the key of fitted baselines: the input is the windows."""
    return StageKey("baselines", "baselines", parameters, {"windows": _digest(windows)}, paths=(windows,))


def evaluate(windows: Path, checkpoint: Path, baselines: str | Path, parameters: EvaluateParameters) -> StageKey:
    """Return the key of a report: the inputs are the windows, the bytes of the checkpoint and the baselines.

    Parameters
    ----------
    baselines
        Folder of fitted baselines, or the digest of baselines that are not fitted yet. The stage itself needs a folder:
        only a folder is verified before it is read.
    """
    fitted, folders = (_digest(baselines), (baselines,)) if isinstance(baselines, Path) else (baselines, ())
    inputs = {"windows": _digest(windows), "checkpoint": file_digest(checkpoint), "baselines": fitted}
    return StageKey("reports", "evaluate", parameters, inputs, paths=(windows, checkpoint, *folders))


def keypoints(source: KeypointSource, parameters: KeypointsParameters) -> StageKey:
    """Return the key of tracks of keypoints: the input is the bytes of the file, or the files of a folder.

    The names of the files in a folder number the frames, so the digest covers them. The parameter `detector` counts for
    a video only.
    """
    if not source.is_folder:
        digest = file_digest(source.path)
    else:
        lines = (f"{file.name} {file_digest(file)}\n" for file in source.files)
        digest = hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
    idle = frozenset[str]() if source.is_video else frozenset({"detector"})
    return StageKey("keypoints", "keypoints", parameters, {"source": digest}, idle, source.path.absolute().stem)


def lift(keypoints: Path, checkpoint: Path, parameters: LiftParameters) -> StageKey:
    """Return the key of a motion: the inputs are the tracks of keypoints and the bytes of the checkpoint."""
    inputs = {"keypoints": _digest(keypoints), "checkpoint": file_digest(checkpoint)}
    return StageKey("motions", "lift", parameters, inputs, paths=(keypoints, checkpoint))


def pipeline(files: Sequence[MotionFile], parameters: PipelineParameters, start: Path | None = None) -> StageKey:
    """Return the key of a pipeline run: the inputs are the files that it starts from.

    A pipeline has no folder; the digest identifies its run in MLflow.

    Parameters
    ----------
    start
        Checkpoint that is fine-tuned. If None, the pipeline pretrains a network.
    """
    inputs = _motion(files) | ({"pretrained": file_digest(start)} if start else {})
    idle = frozenset({"pretrain"}) if start else frozenset[str]()
    return StageKey("pipelines", PIPELINE, parameters, inputs, idle, data=data_name(files))


def _motion(files: Sequence[MotionFile]) -> dict[str, str]:
    """Return `source` and `clip_list` of the first file, `source_2` and `clip_list_2` of the second, and so on."""
    inputs = {}
    for place, file in enumerate(files, start=1):
        number = "" if place == 1 else f"_{place}"
        inputs[f"source{number}"] = known_digest(file.path)  # the file may have gigabytes
        if file.clip_list:
            inputs[f"clip_list{number}"] = file_digest(file.clip_list)
    return inputs


def _digest(folder: Path) -> str:
    return read_manifest(folder)["digest"]
