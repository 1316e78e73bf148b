"""What the bodies in a file say about it: its unit, the axis they stand along, and which of their legs comes first.

The first pass over a file samples a few frames of each clip and reduces them, a batch at a time, to a row of numbers.
What was declared is held against the medians: a file in millimetres is told from one of broken clips, and y from z.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_contracts.clips import stature
from data_contracts.errors import InputError
from data_contracts.parameters import IngestParameters, Layout
from data_contracts.skeleton import BONES
from tasks.ingest.axes import JOINT_COUNTS, to_frames_first
from tasks.ingest.layouts import ArrayRef, Motion, is_stack

METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}
BODIES = (0.6, 2.6)  # metres along the bones, as the clip contract has it
AXES = ("x", "y", "z", "-x", "-y", "-z")
SAME_AXIS = 0.6  # share of the clips that must stand along one axis for it to be evidence

# The joint that stands in each place once the legs are exchanged: SPIN's J_regressor_h36m, and with it AMASS-to-3DHPE,
# gives the left leg as joints 1-3 and the right one as 4-6, though the arms follow Human3.6M.
LEGS_EXCHANGED = (0, 4, 5, 6, 1, 2, 3, *range(7, 17))

_FRAMES = 8
_BATCH = 256
_VALUES_KEPT = 2**20  # bytes of an array with one axis, such as fps by clip
_PARENT, _CHILD = (np.array(side) for side in zip(*BONES, strict=True))


class Survey:
    """The first pass over a file: `add` takes its arrays, `evidence` tells what those that are motions say."""

    def __init__(self) -> None:
        self.arrays = 0
        self._waiting: list[tuple[int, np.ndarray]] = []
        self._index: list[int] = []
        self._rows: list[np.ndarray] = []

    def add(self, array: np.ndarray) -> ArrayRef:
        """Sample an array, and return what stands for it in the tree."""
        index = self.arrays
        self.arrays += 1
        for clip in array if is_stack(array.shape) else [array]:
            self._sample(index, clip)
        is_short = array.ndim == 1 and array.nbytes <= _VALUES_KEPT
        return ArrayRef(index, array.shape, array if is_short else None)

    def evidence(self, motions: Sequence[Motion]) -> np.ndarray:
        """Rows (clips, 5) for the clips of these motions, in file order: what a few frames of each show.

        Stature along the bones in the file's unit; the direction in which the body stands, from pelvis to thorax and
        from ankles to head, as a unit vector x, y, z; the cosine between the hips and the shoulders, left to right.
        A row is NaN where there is no body to measure; clips whose joint axis is in doubt have none.
        """
        self._flush()
        rows = np.concatenate([np.empty((0, 5)), *self._rows])
        return rows[np.isin(self._index, [motion.array for motion in motions])]

    def _sample(self, index: int, clip: np.ndarray) -> None:
        if clip.ndim != 3 or clip.shape[2] != 3 or (clip.shape[0] in JOINT_COUNTS) == (clip.shape[1] in JOINT_COUNTS):
            return
        layout = Layout.JOINTS_FIRST if clip.shape[0] in JOINT_COUNTS else Layout.FRAMES_FIRST
        frames = clip.shape[1] if layout is Layout.JOINTS_FIRST else clip.shape[0]
        if not frames:
            return
        places = np.arange(_FRAMES) * frames // _FRAMES
        few = clip[:, places] if layout is Layout.JOINTS_FIRST else clip[places]
        self._waiting.append((index, to_frames_first(few, layout)))
        if len(self._waiting) == _BATCH:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._index += [index for index, _ in self._waiting]
            self._rows.append(_measure(np.array([few for _, few in self._waiting], np.float64)))
            self._waiting.clear()


def _measure(poses: np.ndarray) -> np.ndarray:
    """Rows of `Survey.evidence` for poses (clips, frames, 17, 3)."""
    with np.errstate(all="ignore"):  # garbage gives NaN, which is what it says
        bones = np.median(_length(poses[:, :, _CHILD] - poses[:, :, _PARENT]), axis=1)
        trunk, height = poses[:, :, 8] - poses[:, :, 0], poses[:, :, 10] - (poses[:, :, 3] + poses[:, :, 6]) / 2
        upright = _unit(_unit(trunk).mean(1) + _unit(height).mean(1))
        hips, shoulders = poses[:, :, 1] - poses[:, :, 4], poses[:, :, 14] - poses[:, :, 11]
        cosine = (_unit(hips) * _unit(shoulders)).sum(-1).mean(1)
        rows = np.column_stack([stature(bones), upright, cosine])
    rows[~np.isfinite(rows).all(1)] = np.nan
    return rows


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / _length(vectors)[..., None]


def _length(vectors: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("...i,...i->...", vectors, vectors))  # 9 times as fast as np.linalg.norm


def check_evidence(source: Path, evidence: np.ndarray, parameters: IngestParameters, files: int = 1) -> None:
    """Hold the declared unit and up axis against the bodies; a file without a usable one is left to the clip contract.

    Parameters
    ----------
    source
        The file, for the message.
    evidence
        Of `Survey.evidence`.
    parameters
        `unit` and `up` are read.
    files
        How many files they are declared for, this one among them.

    Raises
    ------
    InputError
        The median body is no body in the declared unit, or at least 60% of the bodies stand along another axis.
    """
    usable = evidence[np.isfinite(evidence).all(1)]
    if not len(usable):
        return
    for_all = f"; it is declared for all {files} files, so bring this one to what the others have" if files > 1 else ""
    median = float(np.median(usable[:, 0]))
    if not BODIES[0] <= median * METRES[parameters.unit] <= BODIES[1]:
        fitting = [unit for unit, metres in METRES.items() if BODIES[0] <= median * metres <= BODIES[1]]
        remedy = f"pass --set ingest.unit={fitting[0]}" if fitting else "they are bodies in none of m, cm and mm"
        raise InputError(
            f"{source}: bodies are {median * METRES[parameters.unit]:.4g} m tall along the bones (median of"
            f" {len(usable)} clips), with ingest.unit={parameters.unit}; {BODIES[0]} to {BODIES[1]} m is read: {remedy}"
            f"{for_all}"
        )
    axes = _dominant_axes(usable[:, 1:4])
    share, axis = max((float(np.mean(axes == axis)), axis) for axis in AXES)
    if share >= SAME_AXIS and axis != parameters.up:
        can_be_told = axis in ("y", "z")
        remedy = (
            f"pass --set ingest.up={axis}" if can_be_told else "turn the file first, so that they stand along z or y"
        )
        raise InputError(
            f"{source}: {share:.0%} of {len(usable)} clips stand along {axis}, with ingest.up={parameters.up}: {remedy}"
            f"{for_all}"
        )


def legs_first_left(evidence: np.ndarray) -> bool:
    """Whether joints 1-3 are the left leg: hips and shoulders point opposite ways in most of the bodies."""
    cosines = evidence[np.isfinite(evidence).all(1), 4]
    return len(cosines) > 0 and float(np.median(cosines)) < 0


def to_world(poses: np.ndarray, unit: str, up: str, swap_legs: bool) -> np.ndarray:
    """Bring poses of a file to the clip contract.

    Parameters
    ----------
    poses
        (frames, 17, 3), a view in any memory order, or whatever else stands for a clip in the file.
    unit
        m, cm or mm: that of the file.
    up
        z or y: the axis that points up in the file; y is turned up by (x, y, z) -> (x, -z, y).
    swap_legs
        Exchange joints 1-3 and 4-6, where `legs_first_left` says so.

    Returns
    -------
    np.ndarray
        float32, C order, the same shape, metres, z up. With unit m and up z it has the bits of `poses.astype(float32)`.
    """
    if swap_legs and poses.ndim == 3 and poses.shape[1] == len(LEGS_EXCHANGED):
        poses = poses[:, LEGS_EXCHANGED]
    if unit != "m":
        poses = poses * np.result_type(poses.dtype, np.float32).type(METRES[unit])
    if up == "y" and poses.shape[-1:] == (3,):
        poses = np.stack([poses[..., 0], -poses[..., 2], poses[..., 1]], axis=-1)
    if poses.ndim == 3 and poses.shape[2] == 3 and poses.transpose(1, 0, 2).flags.c_contiguous:
        return _cast_joints_first(poses.transpose(1, 0, 2))
    return np.ascontiguousarray(poses, dtype=np.float32)


def _cast_joints_first(poses: np.ndarray) -> np.ndarray:
    # Cast in memory order, then move each joint as one item of 12 bytes: 2.3 GB/s on one core of the machine where
    # np.ascontiguousarray(poses.transpose(1, 0, 2), np.float32), whose inner loop is 3 numbers long, makes 1.8.
    joints = poses.astype(np.float32).view("V12")[..., 0]  # (17, frames)
    return np.ascontiguousarray(joints.T).view(np.float32).reshape(*joints.T.shape, 3)


def _dominant_axes(directions: np.ndarray) -> np.ndarray:
    """(clips, 3) -> the names of the axes that they come nearest to."""
    axis = np.abs(directions).argmax(1)
    is_negative = directions[np.arange(len(directions)), axis] < 0
    return np.array(AXES)[axis + 3 * is_negative]
