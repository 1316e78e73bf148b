"""Convert joints to metres with z up: the size of the body determines the unit, its posture the up axis."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_contracts.clips import STATURE_M, stature
from data_contracts.errors import InputError
from data_contracts.skeleton import BONES
from tasks.ingest.formats.body import unit

OnArray = Callable[[np.ndarray], object]

# Metres per unit. CMU's skeletons, and BVH files made from them, are in inches times 0.45.
_INCHES = {"inches": 0.0254, "inches x 0.45": 0.0254 / 0.45}
UNITS = {**_INCHES, "m": 1.0, "cm": 0.01, "mm": 0.001}
_ADULT_M = (1.2, 2.2)  # bounds for inches, because 67 inches would also be a small child in cm
CLEAR = 0.75  # least mean of the upright unit vectors along an axis, to decide the up axis
# By up axis: the axes of the file that become x, y and z, and their signs; rotations, never reflections
AXES = {
    "z": ((0, 1, 2), (1, 1, 1)),
    "y": ((0, 2, 1), (1, -1, 1)),
    "x": ((1, 2, 0), (1, 1, 1)),
    "-z": ((0, 1, 2), (1, -1, -1)),
    "-y": ((0, 2, 1), (1, 1, -1)),
    "-x": ((2, 1, 0), (1, 1, -1)),
}
SIGNED_AXES = ("x", "y", "z", "-x", "-y", "-z")


class MetricTree(dict[str, Any]):
    """Tree of a motion file (see `tasks.ingest.layouts`) with joints in metres, z up; `about` describes the file."""

    def __init__(self, about: str, **tree: Any) -> None:
        super().__init__(tree)
        self.about = about


@dataclass(frozen=True)
class World:
    """Unit and up axis of a file."""

    unit: str  # one of `UNITS`
    up: str  # one of `AXES`

    def apply(self, joints: np.ndarray) -> np.ndarray:
        """Return joints (..., 3) in metres with z up, as float32."""
        return np.ascontiguousarray(rotated(joints, self.up) * UNITS[self.unit], dtype=np.float32)


def rotated(joints: np.ndarray, up: str) -> np.ndarray:
    """Return positions (..., 3) rotated so that the axis `up` becomes z."""
    places, signs = AXES[up]
    return joints if up == "z" else np.stack([sign * joints[..., p] for p, sign in zip(places, signs, strict=True)], -1)


def find_world(source: object, joints: np.ndarray, likely_up: str, unit_of_file: str = "") -> World:
    """Return the unit and up axis of joints (frames, 17, 3).

    Parameters
    ----------
    likely_up
        Up axis if the motion does not show that y or z points up, e.g. of a person who lies on the floor.
    unit_of_file
        Unit in the header of the file, one of `UNITS`. If empty, the unit in which the body has a human size is used.

    Raises
    ------
    InputError
        The body does not have a human size in `unit_of_file` or, if this is empty, in any unit.
    """
    usable = joints[np.isfinite(joints).all(axis=(1, 2))]
    if not len(usable):  # the clip contract puts these clips in quarantine
        return World(unit_of_file or "m", likely_up)
    axis, clarity = upright(usable)
    is_clear = clarity >= CLEAR and axis in ("y", "z")
    return World(_unit_of(source, usable, unit_of_file), axis if is_clear else likely_up)


def upright(joints: np.ndarray) -> tuple[str, float]:
    """Return the axis along which bodies (frames, 17, 3) are upright, and the mean share of their height along it."""
    trunk, height = joints[:, 8] - joints[:, 0], joints[:, 10] - (joints[:, 3] + joints[:, 6]) / 2
    mean = ((unit(trunk) + unit(height)) / 2).mean(axis=0)
    along = np.concatenate([mean, -mean])
    return SIGNED_AXES[int(along.argmax())], float(along.max())


def _unit_of(source: object, joints: np.ndarray, unit_of_file: str) -> str:
    parents, children = np.array(BONES).T
    lengths = np.linalg.norm(joints[:, children] - joints[:, parents], axis=-1)
    tall = float(stature(np.median(lengths, axis=0)))
    for name in [unit_of_file] if unit_of_file else UNITS:
        low, high = _ADULT_M if name in _INCHES and not unit_of_file else STATURE_M
        if low <= tall * UNITS[name] <= high:
            return name
    tried = f"{unit_of_file}, the unit in its header" if unit_of_file else ", ".join(UNITS)
    raise InputError(
        f"{source}: the body is {tall:.4g} units tall along the bones, which is not a human size in {tried}; expected"
        f" {STATURE_M[0]} to {STATURE_M[1]} m; correct the unit or scale the file"
    )
