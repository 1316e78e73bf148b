"""The evaluation report, and the comparison of reports.

Every score has an interval over resampled subjects or clips, and the number of these units; a single unit has no
interval. `errors.parquet` has one value per window, method and score; a score is the weighted mean of its values.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_contracts.errors import InputError
from data_contracts.motion.video_scores import VideoScores
from data_contracts.skeleton import JOINTS

if TYPE_CHECKING:
    import pandas as pd  # its import takes a third of a second

REPORT_FILE = "report.json"
ERRORS_FILE = "errors.parquet"
BASELINES = ("mean_depth", "linear", "mlp")
METHODS = ("model", *BASELINES)
ROBUSTNESS_METHODS = ("model", "linear", "mlp")  # mean depth does not depend on the corrupted input
PCK_MM = 150.0  # the threshold of every reported PCK
PCK_CURVE_MM = tuple(range(0, 201, 5))  # thresholds of `pck_curve`
YAW_BIN_DEG = 45


class Metric(NamedTuple):
    """Label of a score, its unit (empty for shares), and the column with the weights of windows in the mean score."""

    label: str
    unit: str
    weight: str = "weight"


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

# Columns of errors.parquet, one row per window: description of the window, frames without padding, and weights of the
# window in means over frames, pairs and triples of frames (a frame covered by n windows has weight 1/n in each).
WINDOW_COLUMNS = ("window_id", "clip_id", "group", "action", "camera", "yaw_deg")
WEIGHT_COLUMNS = ("frames", "weight", "pair_weight", "triple_weight")
# Scores of the model in each window; columns of a baseline are named <baseline>_<column>.
SCORE_COLUMNS = (*METRICS, *JOINT_COLUMNS.values())


def baseline_file(name: str) -> str:
    """Return the file name of a fitted baseline, one of `BASELINES`."""
    return f"{name}.safetensors"


def weight_column(column: str) -> str:
    """Return the name of the column with the weights of windows in the mean of `column`, one of `SCORE_COLUMNS`."""
    return METRICS[column].weight if column in METRICS else "weight"


def error_column(method: str, column: str) -> str:
    """Return the name of the column in errors.parquet for `column`, one of `SCORE_COLUMNS`, of one of `METHODS`."""
    return column if method == "model" else f"{method}_{column}"


class Frozen(BaseModel):
    """Base of result models: immutable, without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def counts_text(counts: dict[str, Any], statistics: dict[str, Any]) -> str:
    """Return the MPJPE and the counts of a stage's result as one line; counts per split are `train / val / test`."""
    scores = {"validation MPJPE": statistics["val_mpjpe_mm"]} if "val_mpjpe_mm" in statistics else {}
    if "metrics" in statistics:
        names = {"model": "MPJPE", "mlp": "baseline mlp"}
        scores |= {name: statistics["metrics"][method]["mpjpe_mm"] for method, name in names.items()}
    texts = {name: f"{score:.1f} mm" for name, score in scores.items()}
    texts |= {key: " / ".join(map(str, n.values())) if isinstance(n, dict) else str(n) for key, n in counts.items()}
    return ", ".join(f"{key} {text}" for key, text in texts.items())


class Resampling(Frozen):
    """Bootstrap of the intervals: units are drawn with replacement, `resamples` times.

    Units are subjects if there are at least `min_people`, else clips.
    """

    confidence: float = Field(0.95, gt=0.5, lt=1)
    resamples: int = Field(5000, ge=100)
    seed: int = Field(0, ge=0)
    min_people: int = Field(5, ge=2)


class Estimate(Frozen):
    """Score of some windows, with an interval `low` to `high` over `units` people or clips; None for a single unit."""

    value: float
    low: float | None
    high: float | None
    over: Literal["people", "clips"]
    units: int
    windows: int

    @property
    def interval(self) -> tuple[float, float] | None:
        """The bounds `low` and `high`, or None without an interval."""
        return None if self.low is None or self.high is None else (self.low, self.high)


class Estimates(Frozen):
    """Scores over all frames of some windows (units: `METRICS`), or differences between two models in these scores.

    The tables contain MPJPE in mm: `per_group_mm` by subject, `per_yaw_mm` by camera direction (bins of `YAW_BIN_DEG`).
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
        """Return the estimates of `METRICS` by name."""
        return {name: getattr(self, name) for name in METRICS}


class MethodScores(Estimates):
    """Scores of one method."""

    pck_curve: tuple[float, ...]  # shares of joints within each of `PCK_CURVE_MM`, in [0, 1]
    train_minutes: float | None = None  # of training or fit; None if unknown

    def headline(self) -> dict[str, float]:
        """Return the value of each metric, and `train_minutes` if known."""
        values = {name: estimate.value for name, estimate in self.metrics().items()}
        return values if self.train_minutes is None else values | {"train_minutes": self.train_minutes}

    def intervals(self) -> dict[str, tuple[float, float]]:
        """Return the intervals of the metrics that have one."""
        return {name: estimate.interval for name, estimate in self.metrics().items() if estimate.interval}


class Robustness(Frozen):
    """MPJPE with and without simulated detector errors, on the same windows of one split.

    mpjpe_mm: condition -> method (`ROBUSTNESS_METHODS`) -> mm. Conditions: `clean`, unchanged 2D; `noise`, errors of
    `DetectorNoise`; `missing`, a fifth of the joints at 0 with confidence 0; and each detector skeleton by its name,
    with joints derived from the keypoints of the skeleton.
    """

    windows: int
    mpjpe_mm: dict[str, dict[str, float]]


class Report(Frozen):
    """Content of `report.json`: the evaluation of a model and the baselines on the same windows."""

    report_version: Literal[3] = 3
    split: str
    projection: str  # of the windows' cameras: perspective or orthographic
    windows: int
    frames: int
    people: int
    clips: int
    digests: dict[str, str]  # of the report and of its inputs: windows, checkpoint, baselines, real_video
    model_uri: str | None  # LoggedModel in MLflow with these weights
    versions: dict[str, str]  # of the contract, Python and packages
    resampling: Resampling
    ridge_penalty: float
    model: MethodScores
    mean_depth: MethodScores
    linear: MethodScores
    mlp: MethodScores
    robustness: Robustness | None = None
    real_video: dict[str, dict[str, VideoScores]] | None = None  # model, detector, markers -> clip or mean -> scores

    def methods(self) -> dict[str, MethodScores]:
        """Return the scores of the model and the baselines by name."""
        return {name: getattr(self, name) for name in METHODS}


class ComparedModel(Frozen):
    """One model of a comparison."""

    name: str  # the user's reference
    report: str  # digest of the report with its scores
    checkpoint: str  # SHA-256 of its weights
    scores: MethodScores
    difference: Estimates | None  # from the scores of the first model, window by window; None for the first model


class Comparison(Frozen):
    """Compared models on the windows of one split, in the order that the user passed."""

    windows: str
    split: str
    resampling: Resampling
    models: tuple[ComparedModel, ...]


def verdict(metric: str, difference: Estimate) -> str:
    """Return `better` or `worse` for a difference in `metric`; `not certain` without an interval or with 0 in it."""
    if difference.interval is None or difference.interval[0] <= 0 <= difference.interval[1]:
        return "not certain"
    is_error = METRICS[metric].unit != ""  # lower is better
    return "better" if (difference.value < 0) == is_error else "worse"


def read_report(folder: Path) -> Report:
    """Read the report of an evaluate stage.

    Raises
    ------
    InputError
        The report is missing, damaged or of another version.
    """
    try:
        return Report.model_validate_json((folder / REPORT_FILE).read_bytes())
    except OSError as error:
        raise InputError(
            f"{folder / REPORT_FILE}: cannot be read ({error.strerror}); evaluate the model again"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"{folder / REPORT_FILE}: not a report of this version ({'.'.join(map(str, first['loc']))}:"
            f" {first['msg']}); evaluate the model again"
        ) from error


def read_errors(folder: Path, method: str = "model") -> "pd.DataFrame":
    """Return one row per window: `WINDOW_COLUMNS`, `WEIGHT_COLUMNS`, and the `SCORE_COLUMNS` of one of `METHODS`."""
    import pandas as pd

    scores = {error_column(method, name): name for name in SCORE_COLUMNS}
    columns = [*WINDOW_COLUMNS, *WEIGHT_COLUMNS, *scores]
    return pd.read_parquet(folder / ERRORS_FILE, columns=columns).rename(columns=scores)


def write_errors(folder: Path, errors: dict[str, "pd.DataFrame"]) -> None:
    """Write the tables of all methods, each as `read_errors` returns it, into one `errors.parquet`."""
    import pandas as pd

    of_windows = errors["model"][[*WINDOW_COLUMNS, *WEIGHT_COLUMNS]]
    scores = [
        table[list(SCORE_COLUMNS)].astype("float32").rename(columns={n: error_column(method, n) for n in SCORE_COLUMNS})
        for method, table in errors.items()
    ]
    pd.concat([of_windows, *scores], axis=1).to_parquet(folder / ERRORS_FILE, index=False, compression="zstd")
