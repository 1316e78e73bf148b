"""Which inputs each stage's result is a function of."""

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
from data_contracts.store.digests import Identity, file_digest, known_digest
from data_contracts.store.manifests import read_manifest


def synthesise(parameters: SyntheticParameters) -> Identity:
    """Synthetic motion: its parameters alone."""
    return Identity("synthetic", "synthesise", parameters, {})


def ingest(files: Sequence[MotionFile], parameters: IngestParameters) -> Identity:
    """Clips: the bytes of every motion file and of its clip list, in their order."""
    paths = [path for file in files for path in (file.path, file.clip_list) if path]
    return Identity("clips", "ingest", parameters, _motion(files), data=data_name(files), paths=tuple(paths))


def convert(clips: Path, parameters: ConvertParameters) -> Identity:
    """Windows: the clip store."""
    return Identity("windows", "convert", parameters, {"clips": _digest(clips)}, paths=(clips,))


def pretrain(windows: Path, parameters: PretrainParameters) -> Identity:
    """Return the identity of a pretrained network: its input is the windows."""
    return Identity("runs", "pretrain", parameters, {"windows": _digest(windows)}, paths=(windows,))


def finetune(windows: Path, checkpoint: Path, parameters: FinetuneParameters) -> Identity:
    """A fine-tuned network: the windows and the bytes of the pretrained checkpoint."""
    inputs = {"windows": _digest(windows), "pretrained": file_digest(checkpoint)}
    return Identity("runs", "finetune", parameters, inputs, paths=(windows, checkpoint))


def baselines(windows: Path, parameters: BaselinesParameters) -> Identity:
    """Fitted baselines: the windows."""
    return Identity("baselines", "baselines", parameters, {"windows": _digest(windows)}, paths=(windows,))


def evaluate(windows: Path, checkpoint: Path, baselines: str | Path, parameters: EvaluateParameters) -> Identity:
    """Return the identity of a report: the windows, the bytes of the checkpoint, and the digest of the baselines.

    Parameters
    ----------
    baselines
        Folder of fitted baselines, or the digest of baselines that are not fitted yet. The stage itself needs a folder:
        only a folder is verified before it is read.
    """
    fitted, folders = (_digest(baselines), (baselines,)) if isinstance(baselines, Path) else (baselines, ())
    inputs = {"windows": _digest(windows), "checkpoint": file_digest(checkpoint), "baselines": fitted}
    return Identity("reports", "evaluate", parameters, inputs, paths=(windows, checkpoint, *folders))


def keypoints(source: KeypointSource, parameters: KeypointsParameters) -> Identity:
    """Tracks of keypoints: the bytes of the file; of a folder the names, which number the frames, as well.

    Of a video, its detector too, which is a parameter that nothing else depends on.
    """
    if not source.is_folder:
        digest = file_digest(source.path)
    else:
        lines = (f"{file.name} {file_digest(file)}\n" for file in source.files)
        digest = hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
    idle = frozenset[str]() if source.is_video else frozenset({"detector"})
    return Identity("keypoints", "keypoints", parameters, {"source": digest}, idle, source.path.absolute().stem)


def lift(keypoints: Path, checkpoint: Path, parameters: LiftParameters) -> Identity:
    """Motion: the tracks of keypoints, and the bytes of the checkpoint."""
    inputs = {"keypoints": _digest(keypoints), "checkpoint": file_digest(checkpoint)}
    return Identity("motions", "lift", parameters, inputs, paths=(keypoints, checkpoint))


def pipeline(files: Sequence[MotionFile], parameters: PipelineParameters, start: Path | None = None) -> Identity:
    """A pipeline run: the bytes it starts from. It has no folder of its own; its digest finds its run in MLflow.

    `start`: a checkpoint that is fine-tuned instead of one that is pretrained here.
    """
    inputs = _motion(files) | ({"pretrained": file_digest(start)} if start else {})
    idle = frozenset({"pretrain"}) if start else frozenset[str]()
    return Identity("pipelines", PIPELINE, parameters, inputs, idle, data=data_name(files))


def _motion(files: Sequence[MotionFile]) -> dict[str, str]:
    """`source` and, where it has one, `clip_list` of the first file; `source_2` and so on of the others."""
    inputs = {}
    for place, file in enumerate(files, start=1):
        number = "" if place == 1 else f"_{place}"
        inputs[f"source{number}"] = known_digest(file.path)  # it may have gigabytes
        if file.clip_list:
            inputs[f"clip_list{number}"] = file_digest(file.clip_list)
    return inputs


def _digest(folder: Path) -> str:
    return read_manifest(folder)["digest"]
