"""Parameters of every stage: pydantic models with bounds.

- Fields that change a result are part of a stage's digest (`Parameters.identity`); `Runtime` is not.
- A parameter has the same effect on every machine. A machine that does not support it (fp16 on a CPU) raises an error.
- A preset (`data_contracts.parameters.presets`) is one YAML file of `PipelineParameters`.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from data_contracts.parameters.base import NO_RESULT, Parameters, Share
from data_contracts.parameters.evaluation import BaselinesParameters, EvaluateParameters, PromoteParameters
from data_contracts.parameters.lifting import (
    ExportFormat,
    KeypointFormat,
    KeypointsParameters,
    LiftParameters,
    OneEuroParameters,
    SmoothingParameters,
    VideoDetector,
)
from data_contracts.parameters.motion import (
    ALL,
    SYNTHETIC_FILE,
    SYNTHETIC_SOURCE,
    ConvertParameters,
    GroupBy,
    IngestParameters,
    Layout,
    Projection,
    ShortClips,
    SplitBy,
    SyntheticParameters,
)
from data_contracts.parameters.network import HeadKind, NetworkConfig
from data_contracts.parameters.training import (
    AugmentationParameters,
    CorruptionParameters,
    DetectorNoise,
    FinetuneParameters,
    LossWeights,
    MLPParameters,
    NewBodies,
    NewCameras,
    Objective,
    PretrainParameters,
    TrainingParameters,
)

Kind = Literal[
    "synthetic", "clips", "windows", "runs", "baselines", "reports",
    "keypoints", "motions", "benchmarks", "scores", "pipelines",
]  # fmt: skip

STAGE_FOLDERS: dict[str, tuple[Kind, str]] = {  # stage -> kind of its folder, and the command that computes it
    "synthesise": ("synthetic", "uplift pipeline"),
    "ingest": ("clips", "uplift ingest SOURCE"),
    "convert": ("windows", "uplift convert {clips}"),
    "pretrain": ("runs", "uplift pretrain {windows}"),
    "finetune": ("runs", "uplift finetune {windows} --pretrained RUN"),
    "baselines": ("baselines", "uplift baselines {windows}"),
    "evaluate": ("reports", "uplift evaluate {windows} --model MODEL"),
    "keypoints": ("keypoints", "uplift keypoints SOURCE"),
    "lift": ("motions", "uplift lift {keypoints} --model MODEL"),
    "benchmark": ("benchmarks", "uplift benchmark import NAME PATH"),
    "score": ("scores", "uplift benchmark score {benchmark} --model MODEL"),
}


class Runtime(Parameters):
    """Devices, machines, memory and time limits of training; these parameters do not change any result."""

    accelerator: Literal["auto", "cpu", "cuda"] = Field("auto", description="Device type; auto is CUDA if available.")
    devices: int = Field(1, ge=1, description="Training processes on this machine, one per device.")
    nodes: int = Field(1, ge=1, description="Training machines; the log has the commands to run on the other machines.")
    rendezvous: str | None = Field(None, description="host:port of this machine; required if nodes is above 1.")
    compile: Literal["auto", "on", "off"] = Field("auto", description="Use of torch.compile; auto: on CUDA only.")
    features: Literal["auto", "off"] = Field("auto", description="auto: cache the features of a frozen backbone.")
    checkpoint_minutes: float = Field(10.0, gt=0, description="Minutes between two `last` checkpoints within an epoch.")
    threads: int | None = Field(None, ge=1, description="CPU threads. Default: half of the usable cores.")
    memory_gb: float | None = Field(
        None, gt=0, description="Memory for windows; larger splits are streamed. Default: half of the free memory."
    )
    wait_minutes: float = Field(30.0, gt=0, le=10_080, description="Minutes that a dispatched stage waits for workers.")
    stage_hours: float = Field(
        48.0, gt=0, le=720, description="Hours that a dispatched stage may take, queue included."
    )
    restarts: int = Field(2, ge=0, le=100, description="Restarts of a dispatched stage after its process died.")


class Workers(Parameters):
    """Processes or Dask cluster that convert clips and pose the bodies of AMASS; these do not change any result."""

    processes: int | None = Field(None, ge=1, description="Processes. Default: one per core if the input is large.")
    dask: str | None = Field(None, description="Address of a Dask scheduler (tcp://host:8786) instead of processes.")


class PipelineParameters(Parameters):
    """Parameters of a pipeline run."""

    synthetic: SyntheticParameters = SyntheticParameters()
    ingest: IngestParameters = IngestParameters()
    convert: ConvertParameters = ConvertParameters()
    pretrain: PretrainParameters = PretrainParameters()
    finetune: FinetuneParameters = FinetuneParameters()
    baselines: BaselinesParameters = BaselinesParameters()
    evaluate: EvaluateParameters = EvaluateParameters()
    promote: PromoteParameters = PromoteParameters()
    keypoints: KeypointsParameters = KeypointsParameters()
    lift: LiftParameters = LiftParameters()
    workers: Annotated[Workers, NO_RESULT] = Workers()
    runtime: Annotated[Runtime, NO_RESULT] = Runtime()

    @model_validator(mode="after")
    def _head_fits_network(self) -> "PipelineParameters":
        if self.finetune.head is HeadKind.DEPTH and self.pretrain.network.geometry != "none":
            raise ValueError(
                "finetune.head depth cannot be combined with pretrain.network.geometry; pass finetune.head=joints or"
                " finetune.head=pose"
            )
        return self

    def idle(self) -> set[str]:
        """Return the names of the stages whose parameters are not part of a pipeline run's digest."""
        return {"synthetic", "promote", "keypoints", "lift"}

    def with_seed(self, seed: int) -> "PipelineParameters":
        """Return the parameters with `seed` for pretraining, fine-tuning and the MLP, so that these train again."""
        update = {"seed": seed}
        mlp = self.baselines.mlp.model_copy(update=update)
        trained = {name: getattr(self, name).model_copy(update=update) for name in ("pretrain", "finetune")}
        return self.model_copy(update={**trained, "baselines": self.baselines.model_copy(update={"mlp": mlp})})
