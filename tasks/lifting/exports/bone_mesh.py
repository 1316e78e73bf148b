"""Bones as octahedra in the rest pose, so that a viewer of an animated skeleton has something to show."""

from dataclasses import dataclass

import numpy as np

from data_contracts.skeleton import BONES, LEFT_JOINTS, RIGHT_JOINTS
from tasks.lifting.exports.rig import NODES, REST_DIRECTIONS, RiggedMotion

_THICK, _WAIST = 0.09, 0.2  # of the length: half the width at the thickest place, and how far along that is
_THICKEST = 0.03  # metres
_RIGHT, _LEFT, _MIDDLE = (200, 60, 50, 255), (50, 90, 200, 255), (150, 150, 150, 255)
# An octahedron: 0 where the bone begins, 1 where it ends, 2-5 around its waist; triangles are seen anticlockwise.
_TRIANGLES = np.array([(0, 3, 2), (0, 4, 3), (0, 5, 4), (0, 2, 5), (1, 2, 3), (1, 3, 4), (1, 4, 5), (1, 5, 2)])


@dataclass(frozen=True)
class BoneMesh:
    """Triangles, three vertices each, in the rest pose.

    Attributes
    ----------
    positions
        (vertices, 3) metres, y up.
    normals
        (vertices, 3) unit vectors, of the face.
    colors
        (vertices, 4) uint8: red, green, blue, opacity.
    nodes
        (vertices,): index in `NODES` of what each vertex follows.
    """

    positions: np.ndarray
    normals: np.ndarray
    colors: np.ndarray
    nodes: np.ndarray


def bone_mesh(rigged: RiggedMotion) -> BoneMesh:
    """An octahedron from joint to joint for each of `BONES`, flat on its faces."""
    begins = np.array(
        [next(index for index, node in enumerate(NODES) if node.bone == bone) for bone in range(len(BONES))]
    )
    start, length = rigged.rest[begins], np.maximum(rigged.lengths, 1e-3)[:, None]
    along = REST_DIRECTIONS
    aside = np.cross(along, np.eye(3)[np.abs(along).argmin(axis=1)])
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    across = np.cross(along, aside)
    thick, waist = np.minimum(_THICK * length, _THICKEST), start + _WAIST * length * along
    corners = np.stack(
        [start, start + length * along, *(waist + thick * side for side in (aside, across, -aside, -across))], axis=1
    )
    faces = corners[:, _TRIANGLES]  # (bones, 8, 3, 3)
    normals = np.cross(faces[:, :, 1] - faces[:, :, 0], faces[:, :, 2] - faces[:, :, 0])
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    colors = [_RIGHT if end in RIGHT_JOINTS else _LEFT if end in LEFT_JOINTS else _MIDDLE for _, end in BONES]
    vertices = _TRIANGLES.size
    return BoneMesh(
        faces.reshape(-1, 3),
        np.repeat(normals.reshape(-1, 3), 3, axis=0),
        np.repeat(np.array(colors, np.uint8), vertices, axis=0),
        np.repeat(begins, vertices),
    )
