"""Clip stores as tables: what is compared of the night's clips and the champion's."""

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
from tasks.viewer import drift

_COLUMNS = ["name", "group", "action", "fps", "frames", "stature", "speed_max"]
_SAME = ["name", "group", "frames", "stature", "speed_max"]  # of two clips that are one motion


@dataclass(frozen=True)
class ClipSet:
    """The clips of one store.

    `table`: a row per clip, `_COLUMNS` and `seconds`; `quarantined`: check -> clips that broke it, and how many clips
    stand in quarantine; `datasets`: person -> data set.
    """

    digest: str
    table: pd.DataFrame
    quarantined: int
    checks_broken: Mapping[str, int]
    datasets: Mapping[str, str]

    @classmethod
    def read(cls, folder: Path, manifest: Mapping[str, Any] | None = None) -> "ClipSet":
        """Clips of a folder; `manifest`: its `digest`, `counts` and `statistics` while it has none yet."""
        manifest = manifest or read_manifest(folder)
        try:
            table = parquet.read_table(folder / CLIPS_FILE, columns=_COLUMNS).to_pandas()
        except (arrow.ArrowException, OSError):
            if (folder / MANIFEST).is_file():
                verify_input(folder)  # names the damaged file and the command that rebuilds it
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
    def people(self) -> pd.DataFrame:
        """A row per person: clips, seconds, stature (median of the person's clips, metres)."""
        by_person = self.table.groupby("group")
        return by_person.agg(clips=("seconds", "size"), seconds=("seconds", "sum"), stature=("stature", "median"))

    @cached_property
    def actions(self) -> pd.DataFrame:
        """A row per action: clips, seconds."""
        return self.table.groupby("action").agg(clips=("seconds", "size"), seconds=("seconds", "sum"))

    def without(self, other: "ClipSet") -> pd.DataFrame:
        """Rows of `table` whose clips `other` does not have."""
        mine, theirs = (pd.MultiIndex.from_frame(clips.table[_SAME]) for clips in (self, other))
        return self.table[~mine.isin(theirs)]

    def numbers(self) -> dict[str, np.ndarray]:
        """What is drawn and compared: name with its unit -> a value per clip, or, of stature, per person."""
        return {
            "stature of people, m": self.people["stature"].to_numpy(dtype=float),
            "fastest joint of clips, m/s": self.table["speed_max"].to_numpy(dtype=float),
            "length of clips, s": self.table["seconds"].to_numpy(dtype=float),
            "frames per second of clips": self.table["fps"].to_numpy(dtype=float),
        }

    def counts_by_action(self) -> dict[str, int]:
        """Clips of each action."""
        return {str(action): int(clips) for action, clips in self.actions["clips"].items()}

    def counts_by_fate(self) -> dict[str, int]:
        """Clips that were kept, and that were not."""
        return {"kept": len(self.table), "quarantined": self.quarantined}


def drifts(before: ClipSet, now: ClipSet) -> list[drift.Drift]:
    """Every distribution of `ClipSet.numbers`, the clips' actions, and the share in quarantine."""
    numbers = [drift.of_numbers(name, before.numbers()[name], values) for name, values in now.numbers().items()]
    labels = [
        drift.of_labels("actions of clips", before.counts_by_action(), now.counts_by_action()),
        drift.of_labels("share in quarantine", before.counts_by_fate(), now.counts_by_fate()),
    ]
    return numbers + labels
