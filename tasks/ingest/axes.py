"""Detect the order of the axes of a file's arrays, and convert clips to (frames, 17, 3)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_contracts.errors import InputError
from data_contracts.parameters import Layout
from data_contracts.skeleton import NUM_JOINTS

# Indices of the 17 skeleton joints among Human3.6M's 32. Source: VideoPose3D, common/h36m_dataset.py, which removes the
# static joints 4, 5, 9, 10, 11, 16, 20-24 and 28-31.
H36M_32_TO_17 = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
JOINT_COUNTS = (NUM_JOINTS, 32)
AGREEMENT = 0.95  # minimum share of the votes for the order of the axes


def decide_layout(source: Path, shapes: Sequence[tuple[int, ...]], declared: Layout) -> Layout:
    """Return the order of the axes of all arrays in a file.

    A shape with a joint count (17 or 32) on the first axis only is a vote for joints first; with a joint count on the
    second axis only, for frames first. Other shapes do not vote. The layout needs 95% of the votes. Clips that voted
    otherwise have another number of joints and go to quarantine.

    Raises
    ------
    InputError
        The shapes are ambiguous, or contradict `declared`.
    """
    axes = [(shape[0] in JOINT_COUNTS, shape[1] in JOINT_COUNTS) for shape in shapes if is_clip(shape)]
    votes = {Layout.JOINTS_FIRST: axes.count((True, False)), Layout.FRAMES_FIRST: axes.count((False, True))}
    winner = max(votes, key=lambda layout: votes[layout])
    is_decided = votes[winner] > 0 and votes[winner] >= AGREEMENT * sum(votes.values())
    counts = (
        f"{votes[Layout.JOINTS_FIRST]} of {len(shapes)} arrays have 17 or 32 joints on the first axis only,"
        f" {votes[Layout.FRAMES_FIRST]} on the second only, {axes.count((True, True))} on both"
    )
    if declared is Layout.AUTO:
        if not is_decided:
            raise InputError(
                f"{source}: the shapes do not determine the order of the axes: {counts};"
                " pass --set ingest.layout=joints_first or --set ingest.layout=frames_first"
            )
        return winner
    if is_decided and winner is not declared:
        raise InputError(f"{source}: ingest.layout={declared}, but {counts}; pass --set ingest.layout={winner}")
    return declared


def to_frames_first(array: np.ndarray, layout: Layout) -> np.ndarray:
    """Return a clip as (frames, 17, 3), as a view if possible; an array that is not a clip is returned unchanged."""
    if not is_clip(array.shape):
        return array
    joints_axis = 0 if layout is Layout.JOINTS_FIRST else 1
    if array.shape[joints_axis] == 32:
        array = array.take(H36M_32_TO_17, axis=joints_axis)
    return array.transpose(1, 0, 2) if joints_axis == 0 else array


def is_clip(shape: tuple[int, ...]) -> bool:
    """Return whether an array of this shape may be one clip: three axes, with three coordinates on the last one."""
    return len(shape) == 3 and shape[2] == 3
