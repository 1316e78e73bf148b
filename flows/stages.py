"""Table of stages: the inputs and the work of each stage. Flows and commands are made from this table.

This module does not import Prefect, MLflow or PyTorch, so a result that is in the store is found in a fraction of a
second. The docstring of a stage is its description in the Prefect UI and in `uplift STAGE --help`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_contracts.errors import InputError
from data_contracts.parameters import IngestParameters
from data_contracts.sources import AmassFiles, MotionFile, find_keypoints, find_motion, real_video_input
from data_contracts.store.digests import StageKey
from data_contracts.store.folders import StageResult, resolve
from data_contracts.store.lineage import are_baselines, baselines_source
from data_contracts.store.manifests import read_manifest
from tasks.stage import Context, Inputs, Pending, StageTask, get_or_compute
from tasks.tracking.models import find_lifting_model


@dataclass(frozen=True)
class TableRow:
    """A row of the table: `resolve` converts paths, digests and URIs to the inputs of the stage.

    After the stage, its command prints `next_command`.
    """

    task: StageTask
    resolve: Callable[..., Inputs]
    next_command: str


STAGES: dict[str, TableRow] = {}  # the key is the name of the flow, the command and the `PipelineParameters` field


def stage(
    work: str, next_command: str, resume: bool = False
) -> Callable[[Callable[..., Inputs]], Callable[..., Inputs]]:
    """Return a decorator that adds a stage to the table: name and inputs are those of the function, without `context`.

    `work` and `resume` are fields of `StageTask`; the decorated function returns the inputs for `work`.
    """

    def add(resolve: Callable[..., Inputs]) -> Callable[..., Inputs]:
        name = resolve.__name__
        STAGES[name] = TableRow(StageTask(name, work, resume), resolve, next_command)
        return resolve

    return add


@stage("tasks.ingest.ingest:ingest_clips", "uplift convert {result}", resume=True)
def ingest(
    context: Context,
    source: str | list[str],
    clip_list: str | list[str] | None = None,
    body_model: str | None = None,
) -> Inputs:
    """Read motion files into one clip store, and quarantine each clip that breaks the clip contract.

    Parameters
    ----------
    source
        Path of a motion file (pickle, .npz, .npy, BVH, C3D, TRC), or of a folder with such files; or several paths.
    body_model
        Folder of SMPL-H or SMPL-X body models; SOURCE is then a folder of AMASS. Default: ingest.body_model.
    """
    return {"source": find_files(context.parameters.ingest, source, clip_list, body_model)}


@stage("tasks.convert.batches:convert_clips", "uplift pretrain {result}")
def convert(context: Context, clips: str) -> Inputs:
    """Project clips through virtual cameras, cut them into H36M windows, and split the windows by subject.

    Parameters
    ----------
    clips
        Folder or digest of an ingest stage.
    """
    return {"clips": resolve(context.store, "clips", clips)}


@stage("tasks.train.training:pretrain_network", "uplift finetune {windows} --pretrained {result}", resume=True)
def pretrain(context: Context, windows: str) -> Inputs:
    """Pretrain a network on windows; a killed run continues from its last checkpoint."""
    return {"windows": _training_windows(context, windows)}


@stage("tasks.train.training:finetune_network", "uplift evaluate {windows} --model {result}", resume=True)
def finetune(context: Context, windows: str, pretrained: str) -> Inputs:
    """Fine-tune a pretrained network; a killed run continues from its last checkpoint.

    Parameters
    ----------
    pretrained
        Run folder or digest, checkpoint file (.safetensors, or MotionBERT's .bin), MLflow model URI, or shipped.
    """
    checkpoint = find_lifting_model(context.store, pretrained).checkpoint
    return {"windows": _training_windows(context, windows), "pretrained": checkpoint}


@stage("tasks.train.baselines:fit_baselines", "uplift evaluate {windows} --model ...")
def baselines(context: Context, windows: str) -> Inputs:
    """Fit the baselines on windows: mean depth, linear, and an MLP."""
    return {"windows": resolve(context.store, "windows", windows)}


@stage("tasks.evaluate.evaluate:evaluate_lifter", "uplift promote")
def evaluate(context: Context, windows: str, model: str, baselines: str | None = None) -> Inputs:
    """Evaluate a model and the baselines on the same held-out subjects.

    Parameters
    ----------
    baselines
        Folder or digest of a baselines stage, or of the windows to fit the baselines on. Default: WINDOWS if they have
        a training split, else the windows that the model was trained on.
    """
    folder, checkpoint = resolve(context.store, "windows", windows), find_lifting_model(context.store, model).checkpoint
    source = baselines_source(context.store, folder, checkpoint, baselines)
    fitted = source if are_baselines(source) else Pending(STAGES["baselines"].task, {"windows": source})
    videos = real_video_input(context.parameters.evaluate.real_video)
    return {"windows": folder, "checkpoint": checkpoint, "baselines": fitted, **videos}


@stage("tasks.lifting.keypoints:read_tracks", "uplift lift {result}")
def keypoints(_context: Context, source: str) -> Inputs:
    """Read the 2D keypoints of a detector, or detect keypoints in a video; write tracks of H36M joints in pixels.

    Parameters
    ----------
    source
        Path of a keypoint file, of a folder with one JSON file per frame, or of a video.
    """
    return {"source": find_keypoints(source)}


def run_stage(
    name: str,
    context: Context,
    expected: str | None = None,
    elsewhere: Callable[[StageKey], StageResult] | None = None,
    **references: Any,
) -> StageResult:
    """Return the result of a stage; `references` are its inputs as paths, digests or URIs. See `get_or_compute`."""
    stage = STAGES[name]
    return get_or_compute(stage.task, stage.resolve(context, **references), context, expected, elsewhere)


def find_files(
    options: IngestParameters,
    source: str | Sequence[str | Path],
    clip_list: str | Sequence[str | Path] | None = None,
    body_model: str | None = None,
) -> list[MotionFile] | AmassFiles:
    """Return the motion files of a source or, if `body_model` or `options.body_model` is set, its files of AMASS."""
    return find_motion(source, clip_list, body_model or options.body_model)


def _training_windows(context: Context, reference: str) -> Path:
    """Return a windows folder; raise an InputError if split train or val is empty."""
    windows = resolve(context.store, "windows", reference)
    counts = read_manifest(windows)["counts"]["windows"]
    if missing := [split for split in ("train", "val") if not counts[split]]:
        raise InputError(
            f"{windows}: split {' and '.join(missing)} is empty; training needs both train and val."
            " Train on other windows, or convert the clips again so that train and val each get a group"
            " (convert.val_share, convert.val_groups)."
            " `uplift evaluate` accepts these windows"
        )
    return windows
