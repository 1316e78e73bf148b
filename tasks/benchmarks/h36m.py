"""Read Human3.6M in the preprocessing of VideoPose3D, which most lifters use.

- `data_3d_h36m.npz`: `positions_3d`, subject -> action -> (frames, 32, 3) in metres, world axes, 50 frames per second.
- `data_2d_h36m_*.npz`: `positions_2d`, subject -> action -> one array (frames, 17, 2) in pixels per camera, which may
  have extra frames at its end; `metadata`, with the layout of the keypoints.
"""

from collections.abc import Iterator

import numpy as np

from data_contracts.benchmarks.clips import BenchmarkClip
from data_contracts.benchmarks.files import BenchmarkFiles
from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.errors import InputError
from data_contracts.parameters import KeypointsParameters
from tasks.benchmarks.h36m_cameras import CAMERAS
from tasks.benchmarks.reading import View, entries, entry, keypoints_of, numbers, parts, read_tree
from tasks.ingest.formats.joint_sets import JOINT_SETS

_FPS = 50.0
_JOINTS = 32
_LAYOUTS = {"h36m": Detector.H36M17, "coco": Detector.COCO17}


def read_h36m(source: BenchmarkFiles, options: KeypointsParameters) -> Iterator[BenchmarkClip]:
    """Yield a clip per action and camera of the test subjects; the group is the action without its number."""
    keypoints, truth = source.files
    detected, positions = read_tree(keypoints), entry(read_tree(truth), "positions_3d", str(truth))
    layout = entry(entry(detected, "metadata", str(keypoints)), "layout_name", f"{keypoints}: metadata")
    if layout not in _LAYOUTS:
        raise InputError(
            f"{keypoints}: the layout of the keypoints is {str(layout)[:50]}; expected one of {', '.join(_LAYOUTS)}"
        )
    seen = entry(detected, "positions_2d", str(keypoints))
    for subject, cameras in CAMERAS.items():
        for action, poses in entries(positions, subject, f"{truth}: positions_3d"):
            name = f"{subject} {action}"
            world = JOINT_SETS[_JOINTS].convert(numbers(poses, (None, _JOINTS, 3), f"{truth}: {name}"))
            own = entry(entry(seen, subject, str(keypoints)), action, f"{keypoints}: {subject}")
            views = parts(own, f"{keypoints}: {name}")
            if len(views) != len(cameras):
                raise InputError(
                    f"{keypoints}: {name} has {len(views)} cameras; expected {len(cameras)}: copy the file again"
                )
            for camera, view in zip(cameras, views, strict=True):
                where = f"{keypoints}: {name}, camera {camera.name}"
                points = _cut(view, _LAYOUTS[layout], len(world), where)
                in_pixels = View(_LAYOUTS[layout], points, np.ones(points.shape[:2]), camera.intrinsics)
                yield BenchmarkClip(
                    name=f"{name} {camera.name}",
                    subject=subject,
                    group=action.split(" ")[0],
                    fps=_FPS,
                    keypoints=keypoints_of(in_pixels, options),
                    truth=camera.to_camera(world).astype(np.float32),
                    scored=np.ones(len(world), bool),
                )


def _cut(view: object, detector: Detector, frames: int, where: str) -> np.ndarray:
    """Return the 2D keypoints of the frames that have 3D poses; fewer frames raise an InputError."""
    points = numbers(view, (None, len(SKELETONS[detector].keypoints), 2), where)
    if len(points) < frames:
        raise InputError(f"{where}: {len(points)} frames of 2D, but {frames} of 3D poses: copy both files again")
    return points[:frames]
