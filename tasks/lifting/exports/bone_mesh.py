"""Build a mesh of octahedra for the bones in the rest pose, so that viewers of an animated skeleton show bones."""

from dataclasses import dataclass

import numpy as np

from data_contracts.skeleton import BONES, LEFT_JOINTS, RIGHT_JOINTS
from tasks.lifting.exports.rig import NODES, REST_DIRECTIONS, RiggedMotion

_THICK, _WAIST = 0.09, 0.2  # shares of the length: half the largest width, and its position along the bone
_THICKEST = 0.03  # metres
_RIGHT, _LEFT, _MIDDLE = (200, 60, 50, 255), (50, 90, 200, 255), (150, 150, 150, 255)
# An octahedron: vertex 0 is the start of the bone, 1 its end, 2-5 its waist; front faces are anticlockwise.
_TRIANGLES = np.array([(0, 3, 2), (0, 4, 3), (0, 5, 4), (0, 2, 5), (1, 2, 3), (1, 3, 4), (1, 4, 5), (1, 5, 2)])


@dataclass(frozen=True)
class BoneMesh:
    """Triangles, three vertices each, in the rest pose.

    Attributes
    ----------
    positions
        (vertices, 3) metres, y up.
    normals
        (vertices, 3) unit normals of the faces.
    colors
        (vertices, 4) uint8: red, green, blue, opacity.
    nodes
        (vertices,): index in `NODES` of the node that moves each vertex.
    """

    positions: np.ndarray
    normals: np.ndarray
    colors: np.ndarray
    nodes: np.ndarray


def bone_mesh(rigged: RiggedMotion) -> BoneMesh:
    """Return one octahedron per bone of `BONES`, from joint to joint, with flat faces."""
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
