"""What stages hand over: the result of any stage, and the evaluation report."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from data_contracts.store.folders import Stage

REPORT_FILE = "report.json"
# per window: window_id, clip_id, group, action, frames, weight, mpjpe_mm, p_mpjpe_mm; of each baseline <name>_mpjpe_mm
ERRORS_FILE = "errors.parquet"
BASELINES = ("mean_depth", "linear", "mlp")
METHODS = ("model", *BASELINES)
ROBUSTNESS_METHODS = ("model", "linear", "mlp")  # mean depth has nothing to lose


def baseline_file(name: str) -> str:
    """Name of the file that holds a fitted baseline, one of `BASELINES`."""
    return f"{name}.safetensors"


class StageResult(BaseModel):
    """What every stage flow returns: where its folder is, and what came out."""

    model_config = ConfigDict(frozen=True)

    stage: str
    folder: str
    digest: str
    cached: bool
    seconds: float
    counts: dict[str, Any]
    statistics: dict[str, Any]

    @classmethod
    def of(cls, stage: Stage) -> "StageResult":
        """The result of a stage whose `open_stage` block has ended."""
        return cls(
            stage=stage.name,
            folder=str(stage.folder),
            digest=stage.digest,
            cached=stage.cached,
            seconds=round(stage.seconds, 3),
            counts=stage.counts,
            statistics=stage.statistics,
        )

    def summary(self) -> dict[str, Any]:
        """What `--json` prints: folder, digest, cached, seconds, counts; metrics, robustness where there are any."""
        summary = self.model_dump(include={"stage", "folder", "digest", "cached", "seconds"}) | self.counts
        return summary | {name: self.statistics[name] for name in ("metrics", "robustness") if name in self.statistics}

    @property
    def path(self) -> Path:
        """The stage's folder."""
        return Path(self.folder)


class MethodScores(BaseModel):
    """Scores of one method over all frames of a split; lengths in mm, MPJVE in mm per frame, PCK and AUC in [0, 1].

    `train_minutes`: what its training, or its fit, took; none where that is not known.
    """

    mpjpe_mm: float
    p_mpjpe_mm: float
    n_mpjpe_mm: float
    mpjve_mm: float
    pck_150: float
    auc_150: float
    per_joint_mm: dict[str, float]
    per_action_mm: dict[str, float]
    train_minutes: float | None = None

    def headline(self) -> dict[str, float]:
        """The scores without the tables, and the minutes where they are known."""
        return self.model_dump(exclude={"per_joint_mm", "per_action_mm"}, exclude_none=True)


class Robustness(BaseModel):
    """MPJPE on some windows of a split as detectors would show them, beside that on the same windows as they are.

    mpjpe_mm: condition -> method (`ROBUSTNESS_METHODS`) -> mm. Conditions: `clean`; `noise`, that of `DetectorNoise`;
    `missing`, a fifth of the joints at 0 with confidence 0; and each detector, its keypoints brought to H36M's joints.
    """

    windows: int
    mpjpe_mm: dict[str, dict[str, float]]


class Report(BaseModel):
    """Evaluation of a model beside the baselines, on the same windows; robustness: none where it was not asked for."""

    split: str
    windows: int
    frames: int
    ridge_penalty: float
    model: MethodScores
    mean_depth: MethodScores
    linear: MethodScores
    mlp: MethodScores
    robustness: Robustness | None = None
