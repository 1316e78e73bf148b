"""Comparison of models on the same windows, as printed by `uplift compare --json`."""

from data_contracts.report import METRICS, Estimate, Estimates, Frozen, MethodScores, Resampling


class ComparedModel(Frozen):
    """One model of a comparison.

    Attributes
    ----------
    name
        Reference given by the user.
    report
        Digest of the report with its scores.
    checkpoint
        SHA-256 of its weights.
    difference
        Scores minus those of the first model, window by window; None for the first model.
    """

    name: str
    report: str
    checkpoint: str
    scores: MethodScores
    difference: Estimates | None


class Comparison(Frozen):
    """Models on the windows of one split, in the given order."""

    windows: str
    split: str
    resampling: Resampling
    models: tuple[ComparedModel, ...]


def verdict(metric: str, difference: Estimate) -> str:
    """Return whether a difference in one of `METRICS` is `better`, `worse` or, by its interval, `not certain`."""
    if difference.interval is None or difference.interval[0] <= 0 <= difference.interval[1]:
        return "not certain"
    return "better" if (difference.value < 0) == METRICS[metric].lower_is_better else "worse"
