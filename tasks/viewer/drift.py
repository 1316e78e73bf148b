"""Test whether a distribution moved between two sets of clips, by a statistic and its bound.

- Two samples of one distribution exceed the bound once in a thousand cases.
- The bound is at least the smallest shift of practical size, so that small shifts of many clips are ignored.
- Both parts assume that clips (or subjects) are independent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

_LEVEL = 0.001  # probability that two samples of one distribution exceed the bound
_KOLMOGOROV = 1.949  # quantile of the Kolmogorov distribution at _LEVEL: sqrt(-ln(_LEVEL / 2) / 2)
DISTANCE, INDEX = "Kolmogorov-Smirnov distance", "population stability index"
LEAST_DISTANCE, LEAST_INDEX = 0.1, 0.25


@dataclass(frozen=True)
class Drift:
    """A statistic of two samples and its bound; `name` is the name of the distribution."""

    name: str
    statistic: str
    value: float
    bound: float

    @property
    def moved(self) -> bool:
        """Return whether the value exceeds the bound."""
        return self.value > self.bound


def numeric_drift(name: str, before: np.ndarray, now: np.ndarray) -> Drift:
    """Return the two-sample Kolmogorov-Smirnov distance of values (n,) and (m,), in [0, 1].

    The bound is Smirnov's asymptotic bound (1948) at a level of 0.001, and at least `LEAST_DISTANCE`.
    """
    places = np.concatenate([before, now])
    shares = (np.searchsorted(np.sort(sample), places, side="right") / len(sample) for sample in (before, now))
    distance = np.abs(np.subtract(*shares)).max()
    bound = _KOLMOGOROV * np.sqrt(1 / len(before) + 1 / len(now))
    return Drift(name, DISTANCE, float(distance), max(LEAST_DISTANCE, float(bound)))


def label_drift(name: str, before: Mapping[Any, int], now: Mapping[Any, int]) -> Drift:
    """Return the population stability index of two counts by label: the sum of (p - q) ln(p / q) over shares p, q.

    Each count is increased by 0.5, so that the index is finite for a new label. For two samples of one distribution,
    the index divided by 1/n + 1/m is chi-squared, with one degree of freedom less than labels (Yurdakul and Naranjo,
    J. Risk Model Validation 2020). The bound is the quantile at a level of 0.001, and at least `LEAST_INDEX`, the usual
    limit of a large shift.
    """
    labels = sorted({*before, *now})
    counts = [np.array([sample.get(label, 0) for label in labels], dtype=float) for sample in (before, now)]
    p, q = ((count + 0.5) / (count + 0.5).sum() for count in counts)
    index = ((p - q) * np.log(p / q)).sum()
    quantile = special.chdtri(len(labels) - 1, _LEVEL) if len(labels) > 1 else 0.0
    bound = quantile * (1 / counts[0].sum() + 1 / counts[1].sum())
    return Drift(name, INDEX, float(index), max(LEAST_INDEX, float(bound)))
