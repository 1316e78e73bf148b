"""Write GLB files (glTF 2.0, binary): an animated skeleton with visible bones, for Blender, game engines and viewers.

- A GLB is a JSON text and a block of arrays, so `struct` and `json` need less code than a library. Khronos'
  glTF-Validator reports neither errors nor warnings (tests/tasks/lifting/exports/test_glb.py).
- Units are metres and y is up, as glTF requires. The rest pose is a T on the floor that looks along z. Times start at
  0.
- Nodes are those of `tasks.lifting.exports.rig`. Bones are octahedra skinned to their nodes: right red, left blue,
  middle grey.
"""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.motion.motion import Motion
from data_contracts.text import printable
from tasks.lifting.exports.bone_mesh import BoneMesh, bone_mesh
from tasks.lifting.exports.rig import NODES, RiggedMotion, rig

# glTF 2.0 specification, sections 4.4 (GLB), 5.1.3 (component types) and 5.11.5 (targets)
_MAGIC, _VERSION, _JSON, _BIN = 0x46546C67, 2, 0x4E4F534A, 0x004E4942
_COMPONENTS = {"float32": 5126, "uint16": 5123, "uint8": 5121}
_TYPES = {(): "SCALAR", (3,): "VEC3", (4,): "VEC4", (16,): "MAT4"}
_VERTICES, _INDICES = 34962, 34963


def write_glb(motion: Motion, path: Path) -> None:
    """Write the motion as one animation of a skinned skeleton."""
    rigged, arrays = rig(motion), _Arrays()
    mesh, skin, animation = _mesh(bone_mesh(rigged), arrays), _skin(rigged, arrays), _animation(motion, rigged, arrays)
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


def _mesh(mesh: BoneMesh, arrays: _Arrays) -> dict[str, Any]:
    """Return the mesh; each vertex has one node with weight 1."""
    nodes = np.zeros((len(mesh.nodes), 4), np.uint8)
    weights = np.zeros((len(mesh.nodes), 4), np.float32)
    nodes[:, 0], weights[:, 0] = mesh.nodes, 1
    attributes = {
        "POSITION": arrays.add(mesh.positions.astype(np.float32), target=_VERTICES, bounds=True),
        "NORMAL": arrays.add(mesh.normals.astype(np.float32), target=_VERTICES),
        "COLOR_0": arrays.add(mesh.colors, target=_VERTICES, normalized=True),
        "JOINTS_0": arrays.add(nodes, target=_VERTICES),
        "WEIGHTS_0": arrays.add(weights, target=_VERTICES),
    }
    indices = arrays.add(np.arange(len(mesh.positions), dtype=np.uint16), target=_INDICES)
    return {"name": "bones", "primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}


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
