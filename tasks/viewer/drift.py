"""Whether a distribution moved between two sets of clips, told by one number and the bound that it is held against.

A bound has two parts. What two samples of one distribution differ by is passed once in a thousand; and what is smaller
than a convention calls a shift is none, however many the clips. Both take clips (or people) to be independent.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

_ONE_IN_A_THOUSAND = 1.949  # of the Kolmogorov distribution: sqrt(-ln(0.001 / 2) / 2)
_Z = 3.0902  # of the normal distribution, one-sided
DISTANCE, INDEX = "Kolmogorov-Smirnov distance", "population stability index"
LEAST_DISTANCE, LEAST_INDEX = 0.1, 0.25


@dataclass(frozen=True)
class Drift:
    """A statistic of two samples beside its bound."""

    what: str
    statistic: str
    value: float
    bound: float

    @property
    def moved(self) -> bool:
        """The value is beyond the bound."""
        return self.value > self.bound


def of_numbers(what: str, before: np.ndarray, now: np.ndarray) -> Drift:
    """Two-sample Kolmogorov-Smirnov distance of (n,) and (m,) values: between their distribution functions, in [0, 1].

    Bound: the asymptotic one of Smirnov (1948) at a level of 0.001; at least `LEAST_DISTANCE`.
    """
    places = np.concatenate([before, now])
    shares = (np.searchsorted(np.sort(sample), places, side="right") / len(sample) for sample in (before, now))
    distance = np.abs(np.subtract(*shares)).max()
    bound = _ONE_IN_A_THOUSAND * np.sqrt(1 / len(before) + 1 / len(now))
    return Drift(what, DISTANCE, float(distance), max(LEAST_DISTANCE, float(bound)))


def of_labels(what: str, before: Mapping[str, int], now: Mapping[str, int]) -> Drift:
    """Population stability index of two counts by label: sum of (p - q) ln(p / q) over shares p, q; half a count more
    for each label, so that one that is new counts too.

    Bound: of two samples of one distribution the index is chi-squared, with one degree less than labels, times
    1/n + 1/m (Yurdakul and Naranjo, J. Risk Model Validation 2020), here at 0.001; at least `LEAST_INDEX`, by which
    practice calls a shift large.
    """
    labels = sorted({*before, *now})
    counts = [np.array([of.get(label, 0) for label in labels], dtype=float) for of in (before, now)]
    p, q = ((of + 0.5) / (of + 0.5).sum() for of in counts)
    index = ((p - q) * np.log(p / q)).sum()
    bound = _chi_squared(len(labels) - 1) * (1 / counts[0].sum() + 1 / counts[1].sum())
    return Drift(what, INDEX, float(index), max(LEAST_INDEX, bound))


def _chi_squared(degrees: int) -> float:
    """What chi-squared passes once in a thousand (Wilson and Hilferty, PNAS 1931; within 3 % from 2 degrees on)."""
    if degrees == 0:
        return 0.0
    spread = 2 / (9 * degrees)
    return float(degrees * (1 - spread + _Z * np.sqrt(spread)) ** 3)
