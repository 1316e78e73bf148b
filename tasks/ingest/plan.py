"""Read motion files a first time and plan the ingest: motions, labels, layout and conversion to metres with z up.

- Each file has its own layout and its own clip list; unit and up axis are declared once for all files of arrays. The
  readers of BVH, C3D and TRC detect unit and up axis in each file.
- The declared unit and axis are compared with medians over all clips of a file, because single clips may be broken.
- The first pass keeps shapes, names and a few frames of each clip.
"""

from bisect import bisect
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from data_contracts.clips import STATURE_M, stature
from data_contracts.errors import InputError
from data_contracts.parameters import IngestParameters, Layout
from data_contracts.skeleton import ADULT_BONES_M, BONES, JOINTS, NUM_JOINTS
from data_contracts.sources import MotionFile, short_names
from tasks.ingest.clip_list import ClipLabel, label_clips, label_warnings
from tasks.ingest.formats.axes import SIGNED_AXES, UNITS, MetricTree, World, rotated
from tasks.ingest.formats.joint_sets import COCO, JOINT_SETS, is_joints_axis
from tasks.ingest.layouts import (
    ArrayRef,
    Motion,
    decide_layout,
    find_motions,
    is_amass_to_3dhpe,
    is_clip,
    is_stack,
    to_frames_first,
)
from tasks.ingest.reading import read_motion_file

_DECLARABLE = ("m", "cm", "mm")
MOST_MISFIT = 0.4  # mean |log| of bone ratios; motion capture has up to 0.2, joints in COCO's order have at least 0.6
SAME_AXIS = 0.6  # minimum share of the clips that are upright along one axis, to decide the axis

# Joint order with the legs swapped. SPIN's J_regressor_h36m, and therefore AMASS-to-3DHPE, has the left leg as joints
# 1-3 and the right leg as joints 4-6, although its arms follow Human3.6M.
SWAPPED_LEGS = (0, 4, 5, 6, 1, 2, 3, *range(7, 17))

_FRAMES = 8
_BATCH = 256
_MOST_VALUES = 2**20  # bytes; a shorter 1-d array, e.g. fps per clip, keeps its values
_PARENT, _CHILD = (np.array(side) for side in zip(*BONES, strict=True))


@dataclass(frozen=True)
class FilePlan:
    """Motions of one file with their labels, and the layout of its arrays."""

    file: MotionFile
    name: str  # in messages and tables
    first: int  # clip_id of the first clip
    motions: list[Motion]
    labels: list[ClipLabel]
    layout: Layout
    legs_first_left: bool
    world: World  # unit and up axis of the coordinates that the second pass reads
    about: str  # format or skeleton, for the log and the manifest


@dataclass(frozen=True)
class Plan:
    """Plans of all files (at least one) in order; clip ids are numbered across all files."""

    files: list[FilePlan]
    warnings: list[str]

    @cached_property
    def clips(self) -> list[ClipLabel]:
        """Labels of all clips; the index in the list is the clip_id."""
        return [clip for file in self.files for clip in file.labels]

    def file_of(self, clip_id: int) -> int:
        """Return the index in `files` of the file that contains this clip."""
        return bisect(self.files, clip_id, key=lambda file: file.first) - 1


def plan_reading(files: Sequence[MotionFile], parameters: IngestParameters) -> Plan:
    """Read each motion file once and plan the second pass; raise the errors of `ingest_clips`."""
    planned: list[FilePlan] = []
    first = 0
    for file, name in zip(files, short_names([file.path for file in files]), strict=True):
        survey = Survey()
        tree = read_motion_file(file.path, survey.add)
        motions = find_motions(file.path, tree)
        is_metric, shapes = isinstance(tree, MetricTree), [motion.shape for motion in motions]
        layout = Layout.FRAMES_FIRST if is_metric else decide_layout(file.path, shapes, parameters.layout)
        evidence, as_coco = survey.evidence(motions), survey.evidence(motions, as_coco=True)
        world, about = World(parameters.unit, parameters.up), _skeleton(motions, layout)
        if about == JOINT_SETS[NUM_JOINTS].name and _misfit(evidence) > MOST_MISFIT >= _misfit(as_coco):
            evidence, about = as_coco, COCO.name
        if isinstance(tree, MetricTree):
            world, about = World("m", "z"), tree.about
        else:
            check_evidence(file.path, evidence, parameters, len(files), about)
        labels = label_clips(motions, file.clip_list, parameters, first)
        swap_legs = is_amass_to_3dhpe(tree) and legs_first_left(evidence)
        planned.append(FilePlan(file, name, first, motions, labels, layout, swap_legs, world, about))
        first += len(motions)
    legs = [file.name for file in planned if file.legs_first_left]
    warnings = label_warnings({file.name: file.labels for file in planned}, parameters)
    warnings += [
        f"{file.name}: 22 joints, as in HumanML3D, which has 20 frames per second; ingest.fps is {parameters.fps:g};"
        " pass --set ingest.fps=20 for files of HumanML3D"
        for file in planned
        if file.about == JOINT_SETS[22].name and parameters.fps != 20 and not file.file.clip_list
    ]
    warnings += [f"{name}: joints 1-3 are the left leg, as in SPIN's regressor; the legs were swapped" for name in legs]
    return Plan(planned, warnings)


class Survey:
    """Measurements of the clips of a file: `add` measures an array, `evidence` returns the rows of motions."""

    def __init__(self) -> None:
        self.arrays = 0
        self._waiting: list[tuple[int, np.ndarray]] = []
        self._index: list[int] = []
        self._rows: list[np.ndarray] = []
        self._rows_as_coco: list[np.ndarray] = []

    def add(self, array: np.ndarray) -> ArrayRef:
        """Measure some frames of an array, and return the reference that replaces the array in the tree."""
        index = self.arrays
        self.arrays += 1
        for clip in array if is_stack(array.shape) else [array]:
            self._sample(index, clip)
        is_short = array.ndim == 1 and array.nbytes <= _MOST_VALUES
        return ArrayRef(index, array.shape, array if is_short else None)

    def evidence(self, motions: Sequence[Motion], as_coco: bool = False) -> np.ndarray:
        """Return the measurements (clips, 6) of `motions`, in file order; `as_coco`: the joints have COCO's order.

        Columns: stature along the bones in the file's unit; upright direction x, y, z, the mean of the unit vectors
        from pelvis to thorax and from ankles to head; cosine between the hip line and the shoulder line, both from left
        to right; mean |log| of the ratios of bone lengths to those of an adult of this size. A row is NaN if the clip
        contains no measurable body. An array without frames or with an ambiguous joint axis has no row.
        """
        self._flush()
        rows = np.concatenate([np.empty((0, 6)), *(self._rows_as_coco if as_coco else self._rows)])
        return rows[np.isin(self._index, [motion.array for motion in motions])]

    def _sample(self, index: int, clip: np.ndarray) -> None:
        if not is_clip(clip.shape) or len({*is_joints_axis(clip.shape)}) == 1:
            return
        layout = Layout.JOINTS_FIRST if is_joints_axis(clip.shape)[0] else Layout.FRAMES_FIRST
        frames = clip.shape[1] if layout is Layout.JOINTS_FIRST else clip.shape[0]
        if not frames:
            return
        places = np.arange(_FRAMES) * frames // _FRAMES
        few = clip[:, places] if layout is Layout.JOINTS_FIRST else clip[places]  # `take` may copy the whole array
        self._waiting.append((index, to_frames_first(few, layout)))
        if len(self._waiting) == _BATCH:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            index, few = zip(*self._waiting, strict=True)
            self._index += index
            poses = np.array(few, np.float64)
            self._rows.append(_measure(poses))
            with np.errstate(all="ignore"):  # as in `_measure`
                self._rows_as_coco.append(_measure(COCO.convert(poses)))
            self._waiting.clear()


def _measure(poses: np.ndarray) -> np.ndarray:
    """Return the rows of `Survey.evidence` for poses (clips, frames, 17, 3)."""
    with np.errstate(all="ignore"):  # invalid poses give NaN
        bones = np.median(_length(poses[:, :, _CHILD] - poses[:, :, _PARENT]), axis=1)
        trunk, height = poses[:, :, 8] - poses[:, :, 0], poses[:, :, 10] - (poses[:, :, 3] + poses[:, :, 6]) / 2
        upright = _unit(_unit(trunk).mean(1) + _unit(height).mean(1))
        hips, shoulders = poses[:, :, 1] - poses[:, :, 4], poses[:, :, 14] - poses[:, :, 11]
        cosine = (_unit(hips) * _unit(shoulders)).sum(-1).mean(1)
        ratios = np.log(bones / ADULT_BONES_M)
        misfit = np.abs(ratios - np.median(ratios, axis=1, keepdims=True)).mean(1)
        rows = np.column_stack([stature(bones), upright, cosine, misfit])
    rows[~np.isfinite(rows).all(1)] = np.nan
    return rows


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / _length(vectors)[..., None]


def _length(vectors: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("...i,...i->...", vectors, vectors))  # np.linalg.norm is 9 times slower


def _skeleton(motions: Sequence[Motion], layout: Layout) -> str:
    """Return the skeleton with the most frequent known number of joints; Human3.6M if no number is known."""
    axis = 0 if layout is Layout.JOINTS_FIRST else 1
    counts = Counter(motion.shape[axis] for motion in motions if is_clip(motion.shape))
    known = [joints for joints, _ in counts.most_common() if joints in JOINT_SETS]
    return JOINT_SETS[next(iter(known), NUM_JOINTS)].name


def check_evidence(
    source: Path, evidence: np.ndarray, parameters: IngestParameters, files: int = 1, skeleton: str = "Human3.6M"
) -> None:
    """Compare the declared unit and up axis with the measurements of a file, the rows of `Survey.evidence`.

    `files` is the number of files with the same declaration; `skeleton` is the order of joints that they should have.

    Raises
    ------
    InputError
        The joints have another order, the median stature is not human in the declared unit, or most bodies are upright
        along another axis.
    """
    usable = evidence[np.isfinite(evidence).all(1)]
    if not len(usable):
        return  # the clip contract refuses the clips
    if _misfit(evidence) > MOST_MISFIT:
        raise InputError(
            f"{source}: left and right limbs and trunk do not fit the order of joints of {skeleton}; reorder the joints"
            f" to {', '.join(JOINTS)}"
        )
    for_all = f"; the value applies to all {files} files, so convert this file to match the others" if files > 1 else ""
    median = float(np.median(usable[:, 0]))
    if not STATURE_M[0] <= median * UNITS[parameters.unit] <= STATURE_M[1]:
        fitting = [unit for unit in _DECLARABLE if STATURE_M[0] <= median * UNITS[unit] <= STATURE_M[1]]
        remedy = f"pass --set ingest.unit={fitting[0]}" if fitting else "the size fits none of m, cm and mm; scale it"
        raise InputError(
            f"{source}: bodies are {median * UNITS[parameters.unit]:.4g} m tall along the bones (median of"
            f" {len(usable)} clips) with ingest.unit={parameters.unit}; expected {STATURE_M[0]} to {STATURE_M[1]} m:"
            f" {remedy}{for_all}"
        )
    dominant = np.abs(usable[:, 1:4]).argmax(1)
    axes = np.array(SIGNED_AXES)[dominant + 3 * (usable[np.arange(len(usable)), 1 + dominant] < 0)]
    share, axis = max((float(np.mean(axes == axis)), axis) for axis in SIGNED_AXES)
    if share >= SAME_AXIS and axis != parameters.up:
        raise InputError(
            f"{source}: bodies are upright along {axis} in {share:.0%} of {len(usable)} clips, but ingest.up="
            f"{parameters.up}: pass --set ingest.up={axis}{for_all}"
        )


def _misfit(evidence: np.ndarray) -> float:
    """Return the median misfit of the bones; 0 if no clip contains a measurable body."""
    usable = evidence[np.isfinite(evidence).all(1), 5]
    return float(np.median(usable)) if len(usable) else 0.0


def legs_first_left(evidence: np.ndarray) -> bool:
    """Return whether joints 1-3 are the left leg: the hip and shoulder lines of most bodies are opposite."""
    cosines = evidence[np.isfinite(evidence).all(1), 4]
    return len(cosines) > 0 and float(np.median(cosines)) < 0


def to_world(poses: np.ndarray, unit: str, up: str, swap_legs: bool) -> np.ndarray:
    """Convert poses (frames, 17, 3) of a file to float32, C order, metres with z up.

    An array of another shape is only cast, and the clip contract rejects it later. `swap_legs` swaps joints 1-3 with
    4-6; see `legs_first_left`.
    """
    if swap_legs and poses.ndim == 3 and poses.shape[1] == len(SWAPPED_LEGS):
        poses = poses[:, SWAPPED_LEGS]
    if unit != "m":
        poses = poses * np.result_type(poses.dtype, np.float32).type(UNITS[unit])
    if poses.shape[-1:] == (3,):
        poses = rotated(poses, up)
    return np.ascontiguousarray(poses, dtype=np.float32)
