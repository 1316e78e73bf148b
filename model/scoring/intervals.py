"""Compute confidence intervals of scores, and of the score differences of two models, by resampling subjects or clips.

- The input is an error table (`Evaluation.errors`): one row per window, each score a weighted mean over its frames. The
  difference of two tables on the same windows has the same form.
- One matrix product computes all resampled sums (R, S): draws per unit (R, U) times sums per unit (U, S), for R
  resamples, U units and S scores.
"""

from collections.abc import Sequence
from math import sqrt
from typing import Literal

import numpy as np
import pandas as pd
from scipy import special, stats

from data_contracts.errors import InputError
from data_contracts.report import (
    JOINT_COLUMNS,
    METRICS,
    SCORE_COLUMNS,
    WEIGHT_COLUMNS,
    WINDOW_COLUMNS,
    YAW_BIN_DEG,
    Estimate,
    Estimates,
    Resampling,
    weight_column,
)

_MAX_DRAWS = 2**22  # numbers of draws in memory at once, 32 MiB


def estimates(errors: pd.DataFrame, resampling: Resampling = Resampling()) -> Estimates:
    """Return all scores of an error table with intervals: overall, and by joint, action, subject and camera yaw."""
    overall = estimate(errors, SCORE_COLUMNS, resampling)
    first_deg = (errors["yaw_deg"] % 360 // YAW_BIN_DEG * YAW_BIN_DEG).astype(int)
    yaw_bins = first_deg.map(lambda first: f"{first:03d}-{first + YAW_BIN_DEG:03d}")
    return Estimates(
        **{name: overall[name] for name in METRICS},
        per_joint_mm={joint: overall[column] for joint, column in JOINT_COLUMNS.items()},
        per_action_mm=_by(errors, errors["action"], resampling),
        per_group_mm=_by(errors, errors["group"], resampling),
        per_yaw_mm=_by(errors, yaw_bins, resampling),
    )


def difference(errors: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """Return the scores in `errors` minus the scores in `reference`, window by window, as an error table.

    If the tables have different windows, an InputError is raised.
    """
    first, second = (table.sort_values("window_id", ignore_index=True) for table in (errors, reference))
    same = [name for name in (*WINDOW_COLUMNS, *WEIGHT_COLUMNS) if name in first]
    if len(first) != len(second) or not first[same].equals(second[same]):
        raise InputError("the error tables have different windows; evaluate both models on the same windows first")
    scores = [name for name in SCORE_COLUMNS if name in first]
    return first.assign(**{name: first[name] - second[name] for name in scores})


def estimate(
    errors: pd.DataFrame, columns: Sequence[str], resampling: Resampling = Resampling()
) -> dict[str, Estimate]:
    """Return the weighted means of `columns` (of `SCORE_COLUMNS`) and bootstrap intervals, None for one unit."""
    weights = errors[[weight_column(name) for name in columns]].to_numpy(dtype=np.float64)  # (W, S)
    sums = errors[list(columns)].to_numpy(dtype=np.float64) * weights
    enough = errors["group"].nunique() >= resampling.min_people
    unit_of, units = pd.factorize(errors["group" if enough else "clip_id"])
    by_unit = np.zeros((len(units), 2 * len(columns)))  # (U, 2S)
    np.add.at(by_unit, unit_of, np.hstack((sums, weights)))
    values, resampled = _means(by_unit.sum(axis=0)), _resampled_means(by_unit, resampling)
    tail = _tail(len(units), resampling.confidence)
    low, high = np.quantile(resampled, (tail, 1 - tail), axis=0) if len(units) > 1 else (None, None)
    return {
        name: Estimate(
            value=values[place],
            low=None if low is None else low[place],
            high=None if high is None else high[place],
            over="people" if enough else "clips",
            units=len(units),
            windows=len(errors),
        )
        for place, name in enumerate(columns)
    }


def _by(errors: pd.DataFrame, key: pd.Series, resampling: Resampling) -> dict[str, Estimate]:
    """Return the MPJPE of each group of windows with the same value of `key`."""
    return {str(name): estimate(windows, ["mpjpe_mm"], resampling)["mpjpe_mm"] for name, windows in errors.groupby(key)}


def _resampled_means(by_unit: np.ndarray, resampling: Resampling) -> np.ndarray:
    """Return the means (R, S) of R bootstrap resamples; `by_unit` (U, 2S) has sums and weights of U units."""
    units, random = len(by_unit), np.random.default_rng(resampling.seed)
    share, step = np.full(units, 1 / units), max(1, _MAX_DRAWS // units)
    sizes = [min(step, resampling.resamples - first) for first in range(0, resampling.resamples, step)]
    return np.concatenate([_means(random.multinomial(units, share, size=size) @ by_unit) for size in sizes])


def _means(sums: np.ndarray) -> np.ndarray:
    """Return the means (..., S) of sums and weights (..., 2S); 0 if the weight is 0 (pairs in one-frame windows)."""
    scores, weights = np.split(sums, 2, axis=-1)
    return scores / np.where(weights > 0, weights, 1)


def students_interval(errors: pd.DataFrame, column: str, confidence: float, min_subjects: int = 2) -> Estimate:
    """Return a column's weighted mean and Student's interval over subjects; over clips below `min_subjects` subjects.

    The standard error is the delete-one jackknife's. The degrees of freedom are the effective number of units minus 1:
    (sum of weights)^2 / sum of squared weights - 1 (Kish, Survey Sampling, 1965), because units differ in weight.
    With one unit the interval is None. `errors` is an error table or its means per clip (`clip_means`).
    """
    over: Literal["people", "clips"] = "people"
    unit_of, units = pd.factorize(errors["group"])
    if len(units) < min_subjects:
        over, (unit_of, units) = "clips", pd.factorize(errors["clip_id"])
    row_weights = errors["weight"].to_numpy(dtype=np.float64)
    weights = np.bincount(unit_of, row_weights)  # (U,)
    means = np.bincount(unit_of, row_weights * errors[column].to_numpy(dtype=np.float64)) / weights
    value, number = float(np.average(means, weights=weights)), len(units)
    low, high = None, None
    if number > 1:
        without = value - weights * (means - value) / (weights.sum() - weights)  # (U,): the mean without each unit
        effective = weights.sum() ** 2 / np.square(weights).sum()
        half = students_t(confidence, effective - 1) * sqrt((number - 1) * without.var())
        low, high = value - half, value + half
    windows = int(errors["windows"].sum()) if "windows" in errors else len(errors)
    return Estimate(value=value, low=low, high=high, over=over, units=number, windows=windows)


def clip_means(errors: pd.DataFrame) -> pd.DataFrame:
    """Return one row per clip: subject, action, number and weight of its windows, and the weighted means of scores."""
    columns = [name for name in SCORE_COLUMNS if name in errors and weight_column(name) == "weight"]
    by_clip = errors["clip_id"]
    sums = errors[columns].mul(errors["weight"], axis=0).groupby(by_clip).sum()
    weights = errors["weight"].groupby(by_clip).agg(["sum", "size"])
    first = errors[["group", "action"]].groupby(by_clip).first()
    table = first.assign(weight=weights["sum"], windows=weights["size"])
    return table.join(sums.div(weights["sum"], axis=0)).reset_index()


def students_t(confidence: float, degrees: float) -> float:
    """Return half the width, in standard errors, of Student's interval with that many degrees of freedom."""
    return float(special.stdtrit(degrees, (1 + confidence) / 2))


def _tail(units: int, confidence: float) -> float:
    """Return the quantile of the resamples that bounds the expanded percentile interval.

    The plain bootstrap interval of few units is too narrow: it uses the normal quantile instead of Student's, and n
    instead of n - 1 (Hesterberg, What Teachers Should Know About the Bootstrap, 2015, section 4.1.3).
    """
    if units == 1:
        return 0.0
    return float(stats.norm.cdf(-students_t(confidence, units - 1) * sqrt(units / (units - 1))))
