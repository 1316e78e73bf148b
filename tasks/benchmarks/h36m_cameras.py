"""Calibration of the four cameras of Human3.6M for the test subjects, from the data set's metadata.xml.

The numbers are those that VideoPose3D lists (common/h36m_dataset.py), without the lens distortion.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from tasks.benchmarks.reading import Intrinsics


@dataclass(frozen=True)
class Calibration:
    """A camera: orientation as a unit quaternion (w, x, y, z), position in metres in the world, and intrinsics."""

    name: str
    intrinsics: Intrinsics
    orientation: tuple[float, float, float, float]
    position: tuple[float, float, float]

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """Return world points (..., 3), metres, in camera axes: x right, y down, z forward."""
        rotation = Rotation.from_quat(self.orientation, scalar_first=True).as_matrix()
        return np.asarray((points - np.array(self.position)) @ rotation)  # by the inverse: rows times the matrix


_INTRINSICS = {
    "54138969": Intrinsics(1145.049, 1143.781, 512.5415, 515.4515),
    "55011271": Intrinsics(1149.676, 1147.592, 508.8486, 508.0649),
    "58860488": Intrinsics(1149.141, 1148.799, 519.8159, 501.4026),
    "60457274": Intrinsics(1145.511, 1144.774, 514.9682, 501.882),
}
# for each camera: orientation (w, x, y, z) and position in millimetres
_EXTRINSICS = {
    "S9": (
        ((0.1554059, -0.1554822, -0.7532095, 0.6199595), (2044.458, 4935.117, 1481.228)),
        ((0.6187845, -0.7634735, -0.1413224, 0.1193397), (1990.96, -5123.811, 1568.805)),
        ((0.1335783, -0.13671, 0.7689455, -0.6100739), (-1670.992, 5211.986, 1528.388)),
        ((0.5879399, -0.7823407, 0.1427614, -0.1479487), (-1696.043, -3827.1, 1591.413)),
    ),
    "S11": (
        ((0.1523247, -0.1544232, -0.7547563, 0.619107), (2098.44, 4926.555, 1500.279)),
        ((0.6189449, -0.7600917, -0.1530063, 0.1255258), (2083.182, -4912.173, 1561.079)),
        ((0.1494323, -0.1565023, 0.7681234, -0.6026304), (-1609.815, 5177.336, 1537.897)),
        ((0.5894251, -0.7818877, 0.1399121, -0.1471536), (-1590.738, -3854.169, 1578.018)),
    ),
}  # fmt: skip


def _calibrations(subject: str) -> list[Calibration]:
    return [
        Calibration(name, intrinsics, orientation, tuple(millimetres / 1000 for millimetres in position))  # type: ignore[arg-type]
        for (name, intrinsics), (orientation, position) in zip(_INTRINSICS.items(), _EXTRINSICS[subject], strict=True)
    ]


CAMERAS: Mapping[str, Sequence[Calibration]] = {subject: _calibrations(subject) for subject in _EXTRINSICS}
