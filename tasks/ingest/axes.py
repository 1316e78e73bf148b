"""In which order the axes of a file's arrays stand, and a clip as (frames, 17, 3) whatever that order."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_contracts.errors import InputError
from data_contracts.parameters import Layout
from data_contracts.skeleton import NUM_JOINTS

# The joints of Human3.6M's 32 that are moved, in the order of the skeleton here. Source: VideoPose3D,
# common/h36m_dataset.py, which removes joints 4, 5, 9, 10, 11, 16, 20-24 and 28-31.
H36M_32_TO_17 = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
JOINT_COUNTS = (NUM_JOINTS, 32)
AGREEMENT = 0.95  # share of the arrays that must agree on the order of the axes


def decide_layout(source: Path, shapes: Sequence[tuple[int, ...]], declared: Layout) -> Layout:
    """Order of the axes in the whole file.

    A shape with a joint count (17 or 32) on the first axis only votes for joints first, one with it on the second axis
    only for frames first; others do not vote. The file has the layout that 95% of the votes agree on: the remaining
    clips have another number of joints, and quarantine takes them.

    Parameters
    ----------
    source
        The file, for the message.
    shapes
        Of its motions.
    declared
        `ingest.layout`; auto asks the shapes.

    Raises
    ------
    InputError
        The shapes do not decide, or contradict what is declared.
    """
    axes = [(shape[0] in JOINT_COUNTS, shape[1] in JOINT_COUNTS) for shape in shapes if is_clip(shape)]
    votes = {Layout.JOINTS_FIRST: axes.count((True, False)), Layout.FRAMES_FIRST: axes.count((False, True))}
    winner = max(votes, key=lambda layout: votes[layout])
    is_decided = votes[winner] > 0 and votes[winner] >= AGREEMENT * sum(votes.values())
    found = (
        f"{votes[Layout.JOINTS_FIRST]} of {len(shapes)} arrays have 17 or 32 joints on the first axis only,"
        f" {votes[Layout.FRAMES_FIRST]} on the second only, {axes.count((True, True))} on both"
    )
    if declared is Layout.AUTO:
        if not is_decided:
            raise InputError(
                f"{source}: the order of the axes is undecidable: {found};"
                " pass --set ingest.layout=joints_first or --set ingest.layout=frames_first"
            )
        return winner
    if is_decided and winner is not declared:
        raise InputError(f"{source}: ingest.layout={declared}, but {found}; pass --set ingest.layout={winner}")
    return declared


def to_frames_first(array: np.ndarray, layout: Layout) -> np.ndarray:
    """A clip as (frames, joints, 3), with 17 of 32 joints; a view where it can be. What is no clip is left as it is."""
    if not is_clip(array.shape):
        return array
    joints_axis = 0 if layout is Layout.JOINTS_FIRST else 1
    if array.shape[joints_axis] == 32:
        array = array.take(H36M_32_TO_17, axis=joints_axis)
    return array.transpose(1, 0, 2) if joints_axis == 0 else array


def is_clip(shape: tuple[int, ...]) -> bool:
    """Whether an array of that shape may be one clip: three axes, the last of three coordinates."""
    return len(shape) == 3 and shape[2] == 3
