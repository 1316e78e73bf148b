"""Models beside each other on the same windows; what `uplift compare --json` prints."""

from data_contracts.report import METRICS, Estimate, Estimates, Frozen, MethodScores, Resampling


class Contender(Frozen):
    """A model that is compared.

    Attributes
    ----------
    name
        As it was asked for.
    report
        Digest of the report that its scores are from.
    checkpoint
        SHA-256 of its weights.
    difference
        How much larger its scores are than the first one's, window by window; none of the first itself.
    """

    name: str
    report: str
    checkpoint: str
    scores: MethodScores
    difference: Estimates | None


class Comparison(Frozen):
    """Models on the windows of one split, in the order they were asked for."""

    windows: str
    split: str
    resampling: Resampling
    contenders: tuple[Contender, ...]


def verdict(metric: str, difference: Estimate) -> str:
    """Whether a difference in one of `METRICS` is for the better or the worse, as far as its interval tells."""
    if difference.interval is None or difference.interval[0] <= 0 <= difference.interval[1]:
        return "not certain"
    return "better" if (difference.value < 0) == METRICS[metric].lower_is_better else "worse"
