"""Read a clip folder as tables, and compare it with the clips of the champion."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as arrow
import pyarrow.parquet as parquet

from data_contracts.clips import CLIPS_FILE
from data_contracts.store.checking import verify_input
from data_contracts.store.manifests import MANIFEST, read_manifest
from tasks.viewer.drift import Drift, label_drift, numeric_drift

_COLUMNS = ["name", "group", "action", "fps", "frames", "stature", "speed_max"]
_SAME = ["name", "group", "frames", "stature", "speed_max"]  # columns that identify a motion


@dataclass(frozen=True)
class ClipSet:
    """The clips of one folder.

    Attributes
    ----------
    table
        One row per clip with `_COLUMNS` and `seconds`.
    quarantined
        Number of clips in quarantine.
    checks_broken
        Number of quarantined clips by failed check.
    datasets
        Name of the data set by subject.
    """

    digest: str
    table: pd.DataFrame
    quarantined: int
    checks_broken: Mapping[str, int]
    datasets: Mapping[str, str]

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
        """Return the values to draw and compare by name with unit: stature per subject, the others per clip."""
        return {
            "stature of subjects, m": self.subjects["stature"].to_numpy(dtype=float),
            "fastest joint of clips, m/s": self.table["speed_max"].to_numpy(dtype=float),
            "length of clips, s": self.table["seconds"].to_numpy(dtype=float),
            "frames per second of clips": self.table["fps"].to_numpy(dtype=float),
        }


def drifts(before: ClipSet, now: ClipSet) -> list[Drift]:
    """Return the drift of each of `ClipSet.distributions`, of the actions and of the share in quarantine."""
    old = before.distributions()
    actions = [clips.actions["clips"].to_dict() for clips in (before, now)]
    outcomes = [{"accepted": len(clips.table), "quarantined": clips.quarantined} for clips in (before, now)]
    return [
        *(numeric_drift(name, old[name], values) for name, values in now.distributions().items()),
        label_drift("actions of clips", *actions),
        label_drift("share in quarantine", *outcomes),
    ]
