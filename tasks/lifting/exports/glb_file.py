"""Write GLB files (glTF 2.0, binary): an animated skeleton with visible bones, for Blender, game engines and viewers.

- A GLB is a JSON text and a block of arrays, so `struct` and `json` need less code than a library.
- Units are metres and y is up, as glTF requires. The rest pose is a T on the floor that looks along z.
- The nodes come from `tasks.lifting.exports.rig`. Bones are octahedra skinned to their nodes: right bones red, left
  blue, middle grey.
"""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.motion.motion import Motion
from data_contracts.skeleton import BONES, LEFT_JOINTS, RIGHT_JOINTS
from data_contracts.text import printable
from tasks.lifting.exports.rig import NODES, REST_DIRECTIONS, RiggedMotion, rig

# glTF 2.0 specification, sections 4.4 (GLB), 5.1.3 (component types) and 5.11.5 (targets)
_MAGIC, _VERSION, _JSON, _BIN = 0x46546C67, 2, 0x4E4F534A, 0x004E4942
_COMPONENTS = {"float32": 5126, "uint16": 5123, "uint8": 5121}
_TYPES = {(): "SCALAR", (3,): "VEC3", (4,): "VEC4", (16,): "MAT4"}
_VERTICES, _INDICES = 34962, 34963

_THICK, _WAIST = 0.09, 0.2  # shares of a bone's length: half the largest width, and its position along the bone
_THICKEST = 0.03  # metres
_RIGHT, _LEFT, _MIDDLE = (200, 60, 50, 255), (50, 90, 200, 255), (150, 150, 150, 255)
# An octahedron: vertex 0 is the start of the bone, 1 its end, 2-5 its waist; front faces are anticlockwise.
_TRIANGLES = np.array([(0, 3, 2), (0, 4, 3), (0, 5, 4), (0, 2, 5), (1, 2, 3), (1, 3, 4), (1, 4, 5), (1, 5, 2)])


def write_glb(motion: Motion, path: Path) -> None:
    """Write the motion as one animation of a skinned skeleton."""
    rigged, arrays = rig(motion), _Arrays()
    mesh, skin, animation = _mesh(rigged, arrays), _skin(rigged, arrays), _animation(motion, rigged, arrays)
    content = {
        "asset": {"version": "2.0", "generator": "pose-uplift"},
        "scene": 0,
        "scenes": [{"nodes": [0, len(NODES)]}],
        "nodes": [*_nodes(rigged), {"name": "bones", "mesh": 0, "skin": 0}],
        "meshes": [mesh],
        "materials": [{"name": "bones", "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 0.8}}],
        "skins": [skin],
        "animations": [animation],
        "accessors": arrays.accessors,
        "bufferViews": arrays.views,
        "buffers": [{"byteLength": len(arrays.data)}],
    }
    text = json.dumps(content, allow_nan=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    with path.open("wb") as file:
        file.write(struct.pack("<III", _MAGIC, _VERSION, 12 + 8 + len(text) + 8 + len(arrays.data)))
        file.write(struct.pack("<II", len(text), _JSON) + text)
        file.write(struct.pack("<II", len(arrays.data), _BIN) + arrays.data)


class _Arrays:
    """The binary block: consecutive arrays, each aligned to four bytes."""

    def __init__(self) -> None:
        self.data = b""
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(
        self, array: np.ndarray, *, target: int | None = None, bounds: bool = False, normalized: bool = False
    ) -> int:
        """Add an array (n, ...) of float32, uint16 or uint8, and return the index of its accessor."""
        raw = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"))).tobytes()
        view: dict[str, Any] = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(raw)}
        accessor: dict[str, Any] = {
            "bufferView": len(self.views),
            "componentType": _COMPONENTS[array.dtype.name],
            "count": len(array),
            "type": _TYPES[array.shape[1:]],
        }
        if target:
            view["target"] = target
        if normalized:
            accessor["normalized"] = True
        if bounds:
            flat = array.reshape(len(array), -1)
            accessor |= {"min": flat.min(axis=0).tolist(), "max": flat.max(axis=0).tolist()}
        self.data += raw + bytes(-len(raw) % 4)
        self.views.append(view)
        self.accessors.append(accessor)
        return len(self.accessors) - 1


def _nodes(rigged: RiggedMotion) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = [
        {"name": node.name, "translation": offset.tolist()} for node, offset in zip(NODES, rigged.offsets, strict=True)
    ]
    for index, node in enumerate(NODES[1:], start=1):
        nodes[node.parent].setdefault("children", []).append(index)
    return nodes


def _mesh(rigged: RiggedMotion, arrays: _Arrays) -> dict[str, Any]:
    """Return one octahedron per bone in the rest pose; each vertex has the node of its bone with weight 1."""
    nodes = np.array(
        [next(index for index, node in enumerate(NODES) if node.bone == bone) for bone in range(len(BONES))]
    )
    faces = _octahedra(rigged.rest[nodes], np.maximum(rigged.lengths, 1e-3)[:, None])
    normals = np.cross(faces[:, :, 1] - faces[:, :, 0], faces[:, :, 2] - faces[:, :, 0])
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    colors = [_RIGHT if end in RIGHT_JOINTS else _LEFT if end in LEFT_JOINTS else _MIDDLE for _, end in BONES]
    count = len(BONES) * _TRIANGLES.size
    joints, weights = np.zeros((count, 4), np.uint8), np.zeros((count, 4), np.float32)
    joints[:, 0], weights[:, 0] = np.repeat(nodes, _TRIANGLES.size), 1
    attributes = {
        "POSITION": arrays.add(faces.reshape(-1, 3).astype(np.float32), target=_VERTICES, bounds=True),
        "NORMAL": arrays.add(np.repeat(normals.reshape(-1, 3), 3, axis=0).astype(np.float32), target=_VERTICES),
        "COLOR_0": arrays.add(
            np.repeat(np.array(colors, np.uint8), _TRIANGLES.size, axis=0), target=_VERTICES, normalized=True
        ),
        "JOINTS_0": arrays.add(joints, target=_VERTICES),
        "WEIGHTS_0": arrays.add(weights, target=_VERTICES),
    }
    indices = arrays.add(np.arange(count, dtype=np.uint16), target=_INDICES)
    return {"name": "bones", "primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}


def _octahedra(start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Return the faces (bones, 8, 3 corners, 3) of bones in the rest pose, metres, y up."""
    along = REST_DIRECTIONS
    aside = np.cross(along, np.eye(3)[np.abs(along).argmin(axis=1)])
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    across = np.cross(along, aside)
    thick, waist = np.minimum(_THICK * length, _THICKEST), start + _WAIST * length * along
    corners = [start, start + length * along, *(waist + thick * side for side in (aside, across, -aside, -across))]
    return np.stack(corners, axis=1)[:, _TRIANGLES]


def _skin(rigged: RiggedMotion, arrays: _Arrays) -> dict[str, Any]:
    """Return the skin; nodes have no rotation in the rest pose, so inverse matrices (column-major) are translations."""
    inverse = np.tile(np.eye(4, dtype=np.float32), (len(NODES), 1, 1))
    inverse[:, 3, :3] = -rigged.rest
    matrices = arrays.add(inverse.reshape(-1, 16))
    return {"name": "skeleton", "joints": list(range(len(NODES))), "inverseBindMatrices": matrices, "skeleton": 0}


def _animation(motion: Motion, rigged: RiggedMotion, arrays: _Arrays) -> dict[str, Any]:
    times = arrays.add((np.arange(motion.frames) / motion.fps).astype(np.float32), bounds=True)
    tracks = [(0, "translation", rigged.root.astype(np.float32))]
    tracks += [(node, "rotation", rigged.rotations[:, node].astype(np.float32)) for node in range(len(NODES))]
    return {
        "name": printable(motion.name),
        "samplers": [{"input": times, "output": arrays.add(values)} for _, _, values in tracks],
        "channels": [
            {"sampler": sampler, "target": {"node": node, "path": path}}
            for sampler, (node, path, _) in enumerate(tracks)
        ],
    }
