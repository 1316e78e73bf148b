"""Read a clip folder as tables, and test which distributions differ between two sets of clips.

A test has a statistic and a bound, and assumes that clips (or subjects) are independent. For two samples of the same
distribution, the statistic is above the bound in one of a thousand cases. The bound has at least the size of a shift
of practical importance, so that small shifts of many clips are ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as arrow
import pyarrow.parquet as parquet
from scipy import special

from data_contracts.clips import CLIPS_FILE
from data_contracts.store.checking import verify_input
from data_contracts.store.manifests import MANIFEST, read_manifest

_COLUMNS = ["name", "group", "action", "fps", "frames", "stature", "speed_max"]
_SAME = ["name", "group", "frames", "stature", "speed_max"]  # columns that identify a motion

_LEVEL = 0.001  # probability that two samples of one distribution exceed the bound
_KOLMOGOROV = 1.949  # quantile of the Kolmogorov distribution at _LEVEL: sqrt(-ln(_LEVEL / 2) / 2)
DISTANCE, INDEX = "Kolmogorov-Smirnov distance", "population stability index"
LEAST_DISTANCE, LEAST_INDEX = 0.1, 0.25


@dataclass(frozen=True)
class ClipSet:
    """The clips of one folder; `table` has one row per clip with `_COLUMNS` and `seconds`."""

    digest: str
    table: pd.DataFrame
    quarantined: int  # number of clips
    checks_broken: Mapping[str, int]  # number of quarantined clips by failed check
    datasets: Mapping[str, str]  # name of the data set by subject

    @classmethod
    def read(cls, folder: Path, manifest: Mapping[str, Any] | None = None) -> "ClipSet":
        """Read the clips of a folder; `manifest` replaces a manifest file that is not written yet."""
        manifest = manifest or read_manifest(folder)
        try:
            table = parquet.read_table(folder / CLIPS_FILE, columns=_COLUMNS).to_pandas()
        except (arrow.ArrowException, OSError):
            if (folder / MANIFEST).is_file():
                verify_input(folder)  # raises an error with the damaged file and the command that rebuilds it
            raise
        statistics = manifest["statistics"]
        return cls(
            manifest["digest"],
            table.assign(seconds=table["frames"] / table["fps"]),
            manifest["counts"]["quarantined"],
            statistics["checks_broken"],
            statistics["datasets"],
        )

    @cached_property
    def subjects(self) -> pd.DataFrame:
        """Return one row per subject, the longest first: clips, seconds, stature (median over the clips, metres)."""
        by_subject = self.table.groupby("group")
        table = by_subject.agg(clips=("seconds", "size"), seconds=("seconds", "sum"), stature=("stature", "median"))
        return table.sort_values("seconds", ascending=False)

    @cached_property
    def actions(self) -> pd.DataFrame:
        """Return one row per action, the longest first: clips, seconds."""
        table = self.table.groupby("action").agg(clips=("seconds", "size"), seconds=("seconds", "sum"))
        return table.sort_values("seconds", ascending=False)

    def without(self, other: "ClipSet") -> pd.DataFrame:
        """Return the rows of `table` whose clips are not in `other`."""
        own, others = (pd.MultiIndex.from_frame(clips.table[_SAME]) for clips in (self, other))
        return self.table[~own.isin(others)]

    def distributions(self) -> dict[str, np.ndarray]:
        """Return the compared values by name with unit: one stature per subject, all other values one per clip."""
        return {
            "stature of subjects, m": self.subjects["stature"].to_numpy(dtype=float),
            "fastest joint of clips, m/s": self.table["speed_max"].to_numpy(dtype=float),
            "length of clips, s": self.table["seconds"].to_numpy(dtype=float),
            "frames per second of clips": self.table["fps"].to_numpy(dtype=float),
        }


def drifts(before: ClipSet, now: ClipSet) -> list["Drift"]:
    """Return the drift of each of `ClipSet.distributions`, of the actions and of the share in quarantine."""
    old = before.distributions()
    actions = [clips.actions["clips"].to_dict() for clips in (before, now)]
    outcomes = [{"accepted": len(clips.table), "quarantined": clips.quarantined} for clips in (before, now)]
    return [
        *(numeric_drift(name, old[name], values) for name, values in now.distributions().items()),
        label_drift("actions of clips", *actions),
        label_drift("share in quarantine", *outcomes),
    ]


@dataclass(frozen=True)
class Drift:
    """Statistic of two samples, and the bound above which the distribution `name` has changed."""

    name: str
    statistic: str
    value: float
    bound: float

    @property
    def moved(self) -> bool:
        """Whether the value exceeds the bound."""
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
