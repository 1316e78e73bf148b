"""What stages hand over: the result of any stage, and the evaluation report.

Notable decisions:
- every score stands with its interval, and every interval says whether people or clips were drawn again, and how many;
- a report is frozen and has a version of its own: a reader of another version is told so, and not misled;
- `errors.parquet` has, of every window and method, what each score is a weighted mean of. So whatever is asked of a
  report afterwards (another group, another model on the same windows) is answered without a network.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_contracts.errors import InputError
from data_contracts.skeleton import JOINTS
from data_contracts.store.folders import Stage

if TYPE_CHECKING:
    import pandas as pd  # takes a third of a second, which whoever reads no table need not wait for

REPORT_FILE = "report.json"
ERRORS_FILE = "errors.parquet"
BASELINES = ("mean_depth", "linear", "mlp")
METHODS = ("model", *BASELINES)
ROBUSTNESS_METHODS = ("model", "linear", "mlp")  # mean depth has nothing to lose
PCK_MM = 150.0  # the threshold of every reported PCK
PCK_CURVE_MM = tuple(range(0, 201, 5))  # thresholds of `pck_curve`
YAW_BIN_DEG = 45


class Metric(NamedTuple):
    """What people call a score, its unit (a share has none), and the column that weighs a window in its mean."""

    label: str
    unit: str
    weight: str = "weight"

    @property
    def lower_is_better(self) -> bool:
        """Errors are lengths; shares are of joints that are right."""
        return bool(self.unit)


METRICS = {
    "mpjpe_mm": Metric("MPJPE", "mm"),
    "p_mpjpe_mm": Metric("P-MPJPE", "mm"),
    "n_mpjpe_mm": Metric("N-MPJPE", "mm"),
    "mpjve_mm": Metric("MPJVE", "mm per frame", "pair_weight"),
    "accel_mm": Metric("acceleration", "mm per frame²", "triple_weight"),
    "pck_150": Metric("PCK@150mm", ""),
    "auc_150": Metric("AUC", ""),
}
JOINT_COLUMNS = {joint: f"{joint}_mm" for joint in JOINTS}

# Columns of errors.parquet, a row per window. What a window is; frames that are not padding; the weights of the window
# in a mean over frames, pairs and triples of consecutive frames (one that n windows cover weighs 1/n in each).
WINDOW_COLUMNS = ("window_id", "clip_id", "group", "action", "camera", "yaw_deg")
WEIGHT_COLUMNS = ("frames", "weight", "pair_weight", "triple_weight")
# Its means of the model; those of a baseline are called <baseline>_<column>.
SCORE_COLUMNS = (*METRICS, *JOINT_COLUMNS.values())


def baseline_file(name: str) -> str:
    """Name of the file that holds a fitted baseline, one of `BASELINES`."""
    return f"{name}.safetensors"


def weight_column(column: str) -> str:
    """The column that weighs a window in the mean of one of `SCORE_COLUMNS`."""
    return METRICS[column].weight if column in METRICS else "weight"


def error_column(method: str, column: str) -> str:
    """The column of errors.parquet that holds one of `SCORE_COLUMNS` of one of `METHODS`."""
    return column if method == "model" else f"{method}_{column}"


class Frozen(BaseModel):
    """Base of what is handed over: immutable, and nothing in it that the contract does not name."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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
        """What `--json` prints: folder, digest, cached, seconds, counts; of an evaluation, its scores as well."""
        summary = self.model_dump(include={"stage", "folder", "digest", "cached", "seconds"}) | self.counts
        scores = ("metrics", "intervals", "robustness")
        return summary | {name: self.statistics[name] for name in scores if name in self.statistics}

    @property
    def path(self) -> Path:
        """The stage's folder."""
        return Path(self.folder)


class Resampling(Frozen):
    """How intervals are made: what was seen is drawn again, with replacement, `resamples` times.

    People are drawn where there are `min_people`, else clips: windows of one clip, and clips of one person, are alike.
    """

    confidence: float = Field(0.95, gt=0.5, lt=1)
    resamples: int = Field(5000, ge=100)
    seed: int = Field(0, ge=0)
    min_people: int = Field(5, ge=2)


class Estimate(Frozen):
    """A score of some windows; `low` to `high`: its interval over their `units` people or clips, none of one alone."""

    value: float
    low: float | None
    high: float | None
    over: Literal["people", "clips"]
    units: int
    windows: int

    @property
    def interval(self) -> tuple[float, float] | None:
        """Its bounds, where there are any."""
        return None if self.low is None or self.high is None else (self.low, self.high)


class Estimates(Frozen):
    """Scores over all frames of some windows, or how two methods differ there; the tables are of the MPJPE, in mm.

    MPJVE is in mm per frame, the acceleration error in mm per frame², PCK and AUC are in [0, 1]. `per_group_mm`: by
    person; `per_yaw_mm`: by where the camera looks, in bins of `YAW_BIN_DEG` degrees.
    """

    mpjpe_mm: Estimate
    p_mpjpe_mm: Estimate
    n_mpjpe_mm: Estimate
    mpjve_mm: Estimate
    accel_mm: Estimate
    pck_150: Estimate
    auc_150: Estimate
    per_joint_mm: dict[str, Estimate]
    per_action_mm: dict[str, Estimate]
    per_group_mm: dict[str, Estimate]
    per_yaw_mm: dict[str, Estimate]

    def metrics(self) -> dict[str, Estimate]:
        """`METRICS`, by name."""
        return {name: getattr(self, name) for name in METRICS}


class MethodScores(Estimates):
    """Scores of one method.

    pck_curve: shares of joints within each of `PCK_CURVE_MM`, in [0, 1]. train_minutes: what its training, or its fit,
    took; none where that is not known.
    """

    pck_curve: tuple[float, ...]
    train_minutes: float | None = None

    def headline(self) -> dict[str, float]:
        """The metrics without intervals, and the minutes where they are known."""
        values = {name: estimate.value for name, estimate in self.metrics().items()}
        return values if self.train_minutes is None else values | {"train_minutes": self.train_minutes}

    def intervals(self) -> dict[str, tuple[float, float]]:
        """The intervals of the metrics, where there are any."""
        return {name: estimate.interval for name, estimate in self.metrics().items() if estimate.interval}


class Robustness(Frozen):
    """MPJPE on some windows of a split as detectors would show them, beside that on the same windows as they are.

    mpjpe_mm: condition -> method (`ROBUSTNESS_METHODS`) -> mm. Conditions: `clean`; `noise`, that of `DetectorNoise`;
    `missing`, a fifth of the joints at 0 with confidence 0; and each detector, its keypoints brought to H36M's joints.
    """

    windows: int
    mpjpe_mm: dict[str, dict[str, float]]


class Report(Frozen):
    """Evaluation of a model beside the baselines, on the same windows; `report.json`.

    Attributes
    ----------
    digests
        Of the report itself, and of what it is a function of: windows, checkpoint, baselines.
    model_uri
        The LoggedModel in MLflow that holds these weights; none where there was none.
    versions
        Of the contracts, Python, and what computed.
    resampling
        How the intervals were made.
    robustness
        None where it was not asked for.
    """

    report_version: Literal[2] = 2
    split: str
    windows: int
    frames: int
    people: int
    clips: int
    digests: dict[str, str]
    model_uri: str | None
    versions: dict[str, str]
    resampling: Resampling
    ridge_penalty: float
    model: MethodScores
    mean_depth: MethodScores
    linear: MethodScores
    mlp: MethodScores
    robustness: Robustness | None = None

    def methods(self) -> dict[str, MethodScores]:
        """The model and the baselines, by name."""
        return {name: getattr(self, name) for name in METHODS}


def read_report(folder: Path) -> Report:
    """The report of an evaluate stage.

    Raises
    ------
    InputError
        There is none, or it is of another version.
    """
    try:
        return Report.model_validate_json((folder / REPORT_FILE).read_bytes())
    except OSError as error:
        raise InputError(f"{folder / REPORT_FILE}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"{folder / REPORT_FILE}: is no report as this version writes it ({'.'.join(map(str, first['loc']))}:"
            f" {first['msg']}); evaluate the model again"
        ) from error


def read_errors(folder: Path, method: str = "model") -> "pd.DataFrame":
    """The error table of one of `METHODS` in a report's folder: a row per window, its scores as `SCORE_COLUMNS`."""
    import pandas as pd

    scores = {error_column(method, name): name for name in SCORE_COLUMNS}
    columns = [*WINDOW_COLUMNS, *WEIGHT_COLUMNS, *scores]
    return pd.read_parquet(folder / ERRORS_FILE, columns=columns).rename(columns=scores)


def write_errors(folder: Path, errors: dict[str, "pd.DataFrame"]) -> None:
    """The error tables of all methods, side by side, as `errors.parquet`."""
    import pandas as pd

    of_windows = errors["model"][[*WINDOW_COLUMNS, *WEIGHT_COLUMNS]]
    scores = [
        table[list(SCORE_COLUMNS)].astype("float32").rename(columns={n: error_column(method, n) for n in SCORE_COLUMNS})
        for method, table in errors.items()
    ]
    pd.concat([of_windows, *scores], axis=1).to_parquet(folder / ERRORS_FILE, index=False, compression="zstd")
