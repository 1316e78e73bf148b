"""Read 3DPW as its authors distribute it: a pickle of Python 2 per sequence (`sequenceFiles/test`), 30 frames/s.

Per person, each in a list: `jointPositions` (frames, 72), SMPL's 24 joints in metres, world axes; `poses2d`
(frames, 3, 18), x, y in pixels and confidence in COCO's order of OpenPose; `campose_valid` (frames,). For all people:
`cam_poses` (frames, 4, 4), from world to camera axes, and `cam_intrinsics` (3, 3). Source: readme.txt of 3DPW.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_contracts.benchmarks.clips import BenchmarkClip
from data_contracts.benchmarks.files import BenchmarkFiles
from data_contracts.detector_skeletons import Detector
from data_contracts.errors import InputError
from data_contracts.parameters import KeypointsParameters
from tasks.benchmarks.reading import Intrinsics, View, entry, keypoints_of, numbers, parts, read_tree
from tasks.ingest.formats.joint_sets import JOINT_SETS

_FPS = 30.0
_JOINTS, _KEYPOINTS = 24, 18


def read_3dpw(source: BenchmarkFiles, options: KeypointsParameters) -> Iterator[BenchmarkClip]:
    """Yield a clip per person with scored frames; the group is the sequence."""
    for path in source.files:
        yield from _people(path, options)


def _people(path: Path, options: KeypointsParameters) -> Iterator[BenchmarkClip]:
    tree, sequence = read_tree(path), path.stem
    poses = numbers(entry(tree, "cam_poses", str(path)), (None, 4, 4), f"{path}: cam_poses")
    camera = _intrinsics(numbers(entry(tree, "cam_intrinsics", str(path)), (3, 3), f"{path}: cam_intrinsics"), path)
    rotation, position = poses[:, :3, :3].transpose(0, 2, 1), poses[:, None, :3, 3]
    names = ("jointPositions", "poses2d", "campose_valid")
    lists = [parts(entry(tree, name, str(path)), f"{path}: {name}") for name in names]
    if len({len(one) for one in lists}) != 1:
        raise InputError(
            f"{path}: {', '.join(names)} have {', '.join(str(len(one)) for one in lists)} people; expected"
            " equal numbers"
        )
    for person, (joints, detected, valid) in enumerate(zip(*lists, strict=True)):
        where, frames = f"{path}: person {person}", len(poses)
        world = numbers(joints, (None, 3 * _JOINTS), f"{where}, jointPositions").reshape(-1, _JOINTS, 3)
        seen = numbers(detected, (None, 3, _KEYPOINTS), f"{where}, poses2d")
        scored = numbers(valid, (None,), f"{where}, campose_valid") > 0
        if {len(world), len(seen), len(scored)} != {frames}:
            raise InputError(
                f"{where}: {len(world)} frames of joints, {len(seen)} of keypoints, {len(scored)} of campose_valid and"
                f" {frames} of cam_poses; expected equal numbers"
            )
        if not scored.any():
            continue
        view = View(Detector.COCO18, seen[:, :2].transpose(0, 2, 1), seen[:, 2], camera)
        yield BenchmarkClip(
            name=f"{sequence} {person}",
            subject=f"{sequence} {person}",
            group=sequence,
            fps=_FPS,
            keypoints=keypoints_of(view, options),
            truth=JOINT_SETS[_JOINTS].convert(world @ rotation + position).astype(np.float32),
            scored=scored,
        )


def _intrinsics(matrix: np.ndarray, path: Path) -> Intrinsics:
    camera = Intrinsics(*map(float, (matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2])))
    if not np.isfinite(matrix).all() or min(camera.fx, camera.fy) < 1:
        raise InputError(
            f"{path}: cam_intrinsics has focal lengths {camera.fx:g} and {camera.fy:g} px; expected at least 1"
        )
    return camera
