"""Table of stages: the inputs, the key and the work of each. Flows and commands are made from this table.

This module imports neither Prefect, MLflow nor PyTorch, so a result that is in the store is found in a fraction of a
second. The docstring of a stage describes it in the Prefect UI and in `uplift STAGE --help`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_contracts.parameters import PipelineParameters
from data_contracts.presets import preset_and_overrides
from data_contracts.report import StageResult
from data_contracts.sources import find_keypoints, find_motion_files
from data_contracts.store import stage_keys
from data_contracts.store.digests import Kind, StageKey
from data_contracts.store.folders import find_stage, resolve, resolve_checkpoint
from data_contracts.store.lineage import are_baselines, baselines_digest, baselines_source
from tasks.tracking.models import is_in_mlflow


@dataclass(frozen=True)
class Context:
    """The store, the parameters of all stages, and the MLflow run of the pipeline, if there is one."""

    store: Path
    parameters: PipelineParameters
    parent_run: str | None = None

    def arguments(self) -> dict[str, Any]:
        """Return the arguments, as JSON, from which the flow of a stage makes this context."""
        return {"store": str(self.store), "parent_run": self.parent_run, **preset_and_overrides(self.parameters)}

    def folder(self, kind: Kind, reference: str) -> Path:
        """Return the folder of a finished stage, from its path or its digest."""
        return resolve(self.store, kind, reference)

    def checkpoint(self, reference: str) -> Path:
        """Return the checkpoint file of a model; a model in MLflow is downloaded."""
        if not is_in_mlflow(reference):
            return resolve_checkpoint(self.store, reference)
        from tasks.tracking.registry import fetch_checkpoint  # MLflow takes seconds to import

        return fetch_checkpoint(self.store, reference)


@dataclass(frozen=True)
class Work:
    """A stage whose inputs are resolved: its key, and the function that computes its result, with or without a flow."""

    identity: StageKey
    compute: Callable[[], StageResult]

    def find(self, store: Path) -> StageResult | None:
        """Return the result if the store has it."""
        finished = find_stage(store, self.identity)
        return StageResult.of(finished) if finished else None


@dataclass(frozen=True)
class Stage:
    """A row of the table: `plan` resolves the inputs; `next_command` is printed after the command of the stage."""

    plan: Callable[..., Work]
    next_command: str

    @property
    def name(self) -> str:
        """Name of the stage, its flow, its command and its parameters in `PipelineParameters`."""
        return self.plan.__name__


STAGES: dict[str, Stage] = {}


def stage(next_command: str) -> Callable[[Callable[..., Work]], Callable[..., Work]]:
    """Add a function to the table; its arguments after the context are the inputs of the stage."""

    def add(plan: Callable[..., Work]) -> Callable[..., Work]:
        STAGES[plan.__name__] = Stage(plan, next_command)
        return plan

    return add


@stage("uplift convert {result}")
def ingest(context: Context, source: str | list[str], clip_list: str | list[str] | None = None) -> Work:
    """Read motion files into one clip store, and quarantine each clip that breaks the clip contract.

    Parameters
    ----------
    source
        Path of an AMASS pickle, an .npz or an .npy file, or of a folder with such files; or several paths.
    clip_list
        CSV with clip metadata (subject, action, fps), one per motion file in the same order. Default: FILE.csv or
        clip_list.csv next to the motion file.
    """
    files, parameters = find_motion_files(source, clip_list), context.parameters.ingest

    def compute() -> StageResult:
        from tasks.ingest.ingest import ingest_clips

        return ingest_clips(context.store, files, parameters, context.parent_run)

    return Work(stage_keys.ingest(files, parameters), compute)


@stage("uplift pretrain {result}")
def convert(context: Context, clips: str) -> Work:
    """Project clips through virtual cameras, cut them into H36M windows, and split the windows by subject.

    Parameters
    ----------
    clips
        Folder or digest of an ingest stage.
    """
    folder, parameters = context.folder("clips", clips), context.parameters.convert

    def compute() -> StageResult:
        from flows.convert import convert_clips

        return convert_clips(context.store, folder, parameters, context.parameters.workers, context.parent_run)

    return Work(stage_keys.convert(folder, parameters), compute)


@stage("uplift finetune {windows} --pretrained {result}")
def pretrain(context: Context, windows: str) -> Work:
    """Pretrain a DSTformer on windows; a killed run continues from its last checkpoint.

    Parameters
    ----------
    windows
        Folder or digest of a convert stage.
    """
    folder, parameters = context.folder("windows", windows), context.parameters

    def compute() -> StageResult:
        from tasks.train.pretrain import pretrain_backbone

        return pretrain_backbone(context.store, folder, parameters.pretrain, parameters.runtime, context.parent_run)

    return Work(stage_keys.pretrain(folder, parameters.pretrain), compute)


@stage("uplift evaluate {windows} --model {result}")
def finetune(context: Context, windows: str, pretrained: str) -> Work:
    """Fine-tune a pretrained network; a killed run continues from its last checkpoint.

    Parameters
    ----------
    windows
        Folder or digest of a convert stage.
    pretrained
        Run folder or digest, checkpoint file (.safetensors, or MotionBERT's .bin), or MLflow model URI.
    """
    folder, checkpoint = context.folder("windows", windows), context.checkpoint(pretrained)
    parameters = context.parameters

    def compute() -> StageResult:
        from tasks.train.finetune import finetune_lifter

        return finetune_lifter(
            context.store, folder, checkpoint, parameters.finetune, parameters.runtime, context.parent_run
        )

    return Work(stage_keys.finetune(folder, checkpoint, parameters.finetune), compute)


@stage("uplift evaluate {windows} --model ...")
def baselines(context: Context, windows: str) -> Work:
    """Fit the baselines on windows: mean depth, linear, and an MLP.

    Parameters
    ----------
    windows
        Folder or digest of a convert stage.
    """
    folder = context.folder("windows", windows)
    return Work(stage_keys.baselines(folder, context.parameters.baselines), lambda: _fit(context, folder))


@stage("uplift promote")
def evaluate(context: Context, windows: str, model: str, baselines: str | None = None) -> Work:
    """Evaluate a model and the baselines on the same held-out subjects.

    Parameters
    ----------
    windows
        Folder or digest of a convert stage.
    model
        Run folder or digest, checkpoint file (.safetensors, or MotionBERT's .bin), or MLflow model URI, e.g.
        models:/pose-uplift@challenger.
    baselines
        Folder or digest of a baselines stage, or of the windows to fit the baselines on. Default: WINDOWS if they have
        a training split, else the windows that the model was trained on.
    """
    folder, checkpoint, parameters = context.folder("windows", windows), context.checkpoint(model), context.parameters
    source = baselines_source(context.store, folder, checkpoint, baselines)

    def compute() -> StageResult:
        from tasks.evaluate.evaluate import evaluate_lifter

        fitted = source if are_baselines(source) else _fit(context, source).path
        return evaluate_lifter(
            context.store, folder, checkpoint, fitted, parameters.evaluate, parameters.runtime, context.parent_run
        )

    fitted_digest = baselines_digest(source, parameters.baselines)
    return Work(stage_keys.evaluate(folder, checkpoint, fitted_digest, parameters.evaluate), compute)


@stage("uplift lift {result}")
def keypoints(context: Context, source: str) -> Work:
    """Read the 2D keypoints of a detector, or detect keypoints in a video; write tracks of H36M joints in pixels.

    Parameters
    ----------
    source
        Path of a keypoint file, of a folder with one JSON file per frame, or of a video.
    """
    found, parameters = find_keypoints(source), context.parameters.keypoints

    def compute() -> StageResult:
        from tasks.lifting.keypoints import read_tracks

        return read_tracks(context.store, found, parameters, context.parent_run)

    return Work(stage_keys.keypoints(found, parameters), compute)


def _fit(context: Context, windows: Path) -> StageResult:
    from tasks.train.baselines import fit_baselines

    parameters = context.parameters
    return fit_baselines(context.store, windows, parameters.baselines, parameters.runtime, context.parent_run)
