"""GLB: a reader of this test, trimesh and Khronos' validator (if installed) read the joints of the motion."""

import json
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_contracts.skeleton import BONES, JOINTS
from tasks.lifting.exports.glb_file import write_glb
from tests.tasks.lifting.exports.motions import motion_of, tumbling, y_up_by_hand

COMPONENTS = {5121: np.dtype("u1"), 5123: np.dtype("<u2"), 5126: np.dtype("<f4")}
WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}
VALIDATE = """
const bytes = new Uint8Array(require("fs").readFileSync(process.argv[1]));
require("gltf-validator").validateBytes(bytes).then(report => console.log(JSON.stringify(report.issues)));
"""


class Glb:
    """A reader that follows the specification of glTF 2.0 and asserts its requirements."""

    def __init__(self, path: Path) -> None:
        raw = path.read_bytes()
        magic, version, length = struct.unpack_from("<4sII", raw)
        assert (magic, version, length) == (b"glTF", 2, len(raw))
        chunks, place = [], 12
        while place < len(raw):
            size, kind = struct.unpack_from("<I4s", raw, place)
            assert size % 4 == 0
            chunks.append((kind, raw[place + 8 : place + 8 + size]))
            place += 8 + size
        (first, text), (second, self.data) = chunks
        assert (first, second) == (b"JSON", b"BIN\0")
        self.content = json.loads(text)
        assert self.content["buffers"] == [{"byteLength": len(self.data)}]

    def array(self, index: int) -> np.ndarray:
        """Return the values of an accessor: (count, width)."""
        accessor = self.content["accessors"][index]
        view = self.content["bufferViews"][accessor["bufferView"]]
        dtype, width = COMPONENTS[accessor["componentType"]], WIDTHS[accessor["type"]]
        assert view["byteOffset"] % 4 == 0
        assert view["byteLength"] == accessor["count"] * width * dtype.itemsize
        assert view["byteOffset"] + view["byteLength"] <= len(self.data)
        values = np.frombuffer(self.data, dtype, accessor["count"] * width, view["byteOffset"]).reshape(-1, width)
        if "min" in accessor:
            assert values.min(axis=0).tolist() == accessor["min"]
            assert values.max(axis=0).tolist() == accessor["max"]
        return values

    def sampled(self, node: int, path: str) -> np.ndarray | None:
        """Return the animated values of a node per frame, or None if the node is not animated."""
        (animation,) = self.content["animations"]
        for channel in animation["channels"]:
            if channel["target"] == {"node": node, "path": path}:
                sampler = animation["samplers"][channel["sampler"]]
                assert sampler.get("interpolation", "LINEAR") == "LINEAR"
                return self.array(sampler["output"]).astype(np.float64)
        return None

    @property
    def times(self) -> np.ndarray:
        (animation,) = self.content["animations"]
        (times,) = {sampler["input"] for sampler in animation["samplers"]}
        return self.array(times)[:, 0]

    def transforms(self, animated: bool = True) -> np.ndarray:
        """(frames, nodes, 4, 4) of every node in the world."""
        nodes = self.content["nodes"]
        frames = len(self.times) if animated else 1
        world = np.tile(np.eye(4), (frames, len(nodes), 1, 1))

        def place(index: int, parent: np.ndarray) -> None:
            local = np.tile(np.eye(4), (frames, 1, 1))
            local[:, :3, 3] = nodes[index].get("translation", [0, 0, 0])
            if animated and (moved := self.sampled(index, "translation")) is not None:
                local[:, :3, 3] = moved
            if animated and (turned := self.sampled(index, "rotation")) is not None:
                local[:, :3, :3] = matrices(turned)
            world[:, index] = parent @ local
            for child in nodes[index].get("children", []):
                place(child, world[:, index])

        for root in self.content["scenes"][self.content["scene"]]["nodes"]:
            place(root, np.tile(np.eye(4), (frames, 1, 1)))
        return world

    def joints(self) -> np.ndarray:
        """(frames, 17, 3) metres, y up."""
        names = [node["name"] for node in self.content["nodes"]]
        return self.transforms()[..., :3, 3][:, [names.index(joint) for joint in JOINTS]]


def matrices(quaternions: np.ndarray) -> np.ndarray:
    """Rotation matrices of unit quaternions x, y, z, w: appendix C of the specification's form."""
    x, y, z, w = quaternions.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.array(rows).transpose(2, 0, 1)


@pytest.fixture
def file(lifted, tmp_path):
    path = tmp_path / "motion.glb"
    write_glb(lifted, path)
    return path


def test_walking_person_is_reproduced_within_a_millimetre(file, lifted):
    assert np.abs(Glb(file).joints() - y_up_by_hand(lifted.joints)).max() < 1e-4


@given(seed=st.integers(0, 2**32 - 1), frames=st.integers(1, 30))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_body_with_constant_bones_is_reproduced_within_a_millimetre(seed, frames, tmp_path):
    motion = motion_of(tumbling(seed, frames))
    write_glb(motion, tmp_path / "motion.glb")
    assert np.abs(Glb(tmp_path / "motion.glb").joints() - y_up_by_hand(motion.joints)).max() < 1e-3


def test_animation_follows_the_specification(file, lifted):
    read = Glb(file)
    np.testing.assert_allclose(read.times, np.arange(lifted.frames) / 60, atol=1e-6)
    assert (np.diff(read.times) > 0).all()
    (animation,) = read.content["animations"]
    assert animation["name"] == "person-0"
    assert "min" in read.content["accessors"][animation["samplers"][0]["input"]]
    assert [channel["target"]["path"] for channel in animation["channels"]] == ["translation"] + ["rotation"] * 23
    for node in range(23):
        quaternions = read.sampled(node, "rotation")
        assert np.linalg.norm(quaternions, axis=1) == pytest.approx(1, abs=1e-6)
        assert (np.sum(quaternions[1:] * quaternions[:-1], axis=1) > 0).all()


def test_skin_is_bound_in_the_rest_pose(file):
    read = Glb(file)
    (skin,) = read.content["skins"]
    inverse = read.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
    rest = read.transforms(animated=False)[0, skin["joints"]]
    np.testing.assert_allclose(inverse @ rest, np.tile(np.eye(4), (len(rest), 1, 1)), atol=1e-6)


def test_visible_bones_connect_their_joints_in_every_frame(file, lifted):
    read = Glb(file)
    attributes = read.content["meshes"][0]["primitives"][0]["attributes"]
    positions, nodes, weights = (read.array(attributes[name]) for name in ("POSITION", "JOINTS_0", "WEIGHTS_0"))
    assert weights.sum(axis=1) == pytest.approx(1)
    skin = read.content["skins"][0]
    inverse = read.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
    moved = (read.transforms()[:, skin["joints"]] @ inverse)[:, nodes[:, 0]]
    skinned = np.einsum("tvij,vj->tvi", moved, np.c_[positions, np.ones(len(positions))])[..., :3]
    skinned = skinned.reshape(lifted.frames, len(BONES), -1, 3)
    joints = y_up_by_hand(lifted.joints)
    for bone, ends in enumerate(BONES):
        for joint in ends:
            far = np.linalg.norm(skinned[:, bone] - joints[:, None, joint], axis=-1).min(axis=1)
            assert far.max() < 1e-3


def test_trimesh_reads_bones_with_outward_faces_in_the_rest_pose(file, lifted):
    scene = trimesh.load(file)
    (mesh,) = scene.geometry.values()
    assert len(mesh.faces) == 8 * len(BONES)
    mesh.merge_vertices(merge_norm=True, merge_tex=True)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume > 0
    (left, down, _), (right, up, _) = mesh.bounds
    height = np.ptp(lifted.joints[..., 2], axis=1).max()
    assert down == pytest.approx(0, abs=0.02)
    assert 0.9 * height < up < 1.2 * height
    assert left == pytest.approx(-right, abs=0.05)
    assert {"pelvis", "head", "pelvis_to_spine"} <= set(scene.graph.nodes)


@pytest.mark.parametrize("frames", [1, 100])
def test_khronos_validator_reports_no_issue(frames, walking, tmp_path):
    """`npm install --global gltf-validator`, and NODE_PATH says where that is: `npm root --global`."""
    node = shutil.which("node")
    if not node or subprocess.run([node, "-e", 'require("gltf-validator")'], capture_output=True).returncode:
        pytest.skip("no node with gltf-validator")
    write_glb(motion_of(walking[:frames]), tmp_path / "motion.glb")
    command = [node, "-e", VALIDATE, str(tmp_path / "motion.glb")]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(told.stdout)["messages"] == []
