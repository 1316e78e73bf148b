"""Read a recording as ingest does."""

from pathlib import Path

import numpy as np

from tasks.ingest.formats.axes import MetricTree
from tasks.ingest.reading import read_motion_file


def read_recording(path: Path) -> tuple[MetricTree, list[np.ndarray]]:
    """Return the tree of a BVH, C3D or TRC file, and its clips."""
    clips: list[np.ndarray] = []
    tree = read_motion_file(path, lambda clip: clips.append(clip) or clip)  # type: ignore[func-returns-value]
    assert isinstance(tree, MetricTree)
    return tree, clips
