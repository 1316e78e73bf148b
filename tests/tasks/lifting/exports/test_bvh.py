"""BVH: a reader of this test and bvhio return the joints of the motion."""

import re
from pathlib import Path

import bvhio
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_contracts.skeleton import JOINTS
from tasks.lifting.exports.bvh_file import write_bvh
from tests.tasks.lifting.exports.motions import motion_of, resting, tumbling, y_up_by_hand


class Bvh:
    """A reader of the format (Meredith and Maddock, Motion Capture File Formats Explained, 2001)."""

    def __init__(self, path: Path) -> None:
        hierarchy, motion = path.read_text("ascii").split("MOTION\n")
        self.names: list[str] = []
        self.parents: list[int] = []
        self.offsets: list[np.ndarray] = []
        self.channels: list[list[str]] = []
        self.ends: dict[str, np.ndarray] = {}
        words = iter(hierarchy.split())
        assert next(words) == "HIERARCHY"
        open_nodes: list[int] = []
        for word in words:
            match word:
                case "ROOT" | "JOINT":
                    self.names.append(next(words))
                    self.parents.append(open_nodes[-1] if open_nodes else -1)
                    assert next(words) == "{"
                    open_nodes.append(len(self.names) - 1)
                case "OFFSET":
                    self.offsets.append(np.array([float(next(words)) for _ in range(3)]))
                case "CHANNELS":
                    self.channels.append([next(words) for _ in range(int(next(words)))])
                case "End":
                    rest = [next(words) for _ in range(7)]
                    assert (rest[:3], rest[6]) == (["Site", "{", "OFFSET"], "}")
                    self.ends[self.names[open_nodes[-1]]] = np.array([float(number) for number in rest[3:6]])
                case "}":
                    open_nodes.pop()
                case _:
                    raise AssertionError(word)
        assert not open_nodes
        frames, time, *rows = motion.splitlines()
        self.frame_time = float(re.fullmatch(r"Frame Time: (\d+\.\d+)", time).group(1))
        self.rows = np.array([[float(number) for number in row.split(" ")] for row in rows])
        assert self.rows.shape == (int(frames.removeprefix("Frames: ")), sum(map(len, self.channels)))

    def places(self) -> dict[str, np.ndarray]:
        """Name -> (frames, 3), by plain matrices: channels from the outermost, each about its axis."""
        turned: list[np.ndarray] = []
        places: list[np.ndarray] = []
        column = 0
        for parent, offset, channels in zip(self.parents, self.offsets, self.channels, strict=True):
            turn = np.tile(np.eye(3), (len(self.rows), 1, 1)) if parent < 0 else turned[parent]
            place = np.tile(offset, (len(self.rows), 1))
            if parent >= 0:
                place = places[parent] + np.einsum("tij,j->ti", turned[parent], offset)
            for channel in channels:
                axis, kind, value = "XYZ".index(channel[0]), channel[1:], self.rows[:, column]
                column += 1
                if kind == "position":
                    place[:, axis] = value
                else:
                    turn = turn @ about(axis, np.deg2rad(value))
            turned.append(turn)
            places.append(place)
        return dict(zip(self.names, places, strict=True))

    def joints(self) -> np.ndarray:
        """(frames, 17, 3) metres."""
        places = self.places()
        return np.stack([places[name] for name in JOINTS], axis=1) / 100


def about(axis: int, angle: np.ndarray) -> np.ndarray:
    """Rotation matrices (frames, 3, 3) about an axis."""
    one, two = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.zeros((len(angle), 3, 3))
    matrix[:, axis, axis] = 1
    matrix[:, one, one] = matrix[:, two, two] = np.cos(angle)
    matrix[:, two, one] = np.sin(angle)
    matrix[:, one, two] = -np.sin(angle)
    return matrix


def somersaults(angle: np.ndarray) -> np.ndarray:
    """Return joints (frames, 17, 3) of the rest pose turned about x, the middle one of the root's three angles."""
    return np.einsum("tij,kj->tki", about(0, angle), resting(1)[0]) + np.array([0, 0, 1])


def test_walking_person_is_reproduced_within_a_millimetre(lifted, tmp_path):
    write_bvh(lifted, tmp_path / "motion.bvh")
    read = Bvh(tmp_path / "motion.bvh")
    assert np.abs(read.joints() - y_up_by_hand(lifted.joints)).max() < 1e-4
    assert 1 / read.frame_time == pytest.approx(lifted.fps, abs=1e-6)


@given(seed=st.integers(0, 2**32 - 1), frames=st.integers(1, 30))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_body_with_constant_bones_is_reproduced_within_a_millimetre(seed, frames, tmp_path):
    motion = motion_of(tumbling(seed, frames))
    write_bvh(motion, tmp_path / "motion.bvh")
    assert np.abs(Bvh(tmp_path / "motion.bvh").joints() - y_up_by_hand(motion.joints)).max() < 1e-3


def test_bvhio_reads_the_same_motion(lifted, tmp_path):
    write_bvh(lifted, tmp_path / "motion.bvh")
    hierarchy = bvhio.readAsHierarchy(str(tmp_path / "motion.bvh"))
    nodes = {node.Name: node for node, _, _ in hierarchy.layout()}
    for frame in (0, 60, lifted.frames - 1):
        hierarchy.loadPose(frame)
        got = np.array([list(nodes[joint].PositionWorld) for joint in JOINTS]) / 100
        assert np.abs(got - y_up_by_hand(lifted.joints[frame])).max() < 1e-3


def test_skeleton_matches_the_docs(lifted, tmp_path):
    write_bvh(lifted, tmp_path / "motion.bvh")
    read = Bvh(tmp_path / "motion.bvh")
    assert read.names[0] == "pelvis"
    assert len(read.names) == 23
    positions = ["Xposition", "Yposition", "Zposition"]
    assert read.channels[0] == [*positions, "Zrotation", "Xrotation", "Yrotation"]
    orders = {
        name: "".join(channel[0] for channel in channels)
        for name, channels in zip(read.names, read.channels, strict=True)
    }
    assert {orders[name] for name in ("right_hip", "left_knee", "spine", "nose", "thorax_to_nose")} == {"ZYX"}
    assert {orders[name] for name in ("thorax", "left_shoulder", "right_elbow", "left_wrist", "head")} == {"ZXY"}
    parents = {name: read.names[parent] for name, parent in zip(read.names[1:], read.parents[1:], strict=True)}
    assert parents["left_knee"] == "left_hip"
    assert parents["left_hip"] == "pelvis_to_left_hip"
    assert parents["pelvis_to_left_hip"] == "pelvis"
    assert not read.offsets[read.names.index("pelvis_to_left_hip")].any()
    assert set(read.ends) == {"right_ankle", "left_ankle", "head", "left_wrist", "right_wrist"}
    assert {float(np.linalg.norm(end)) for end in read.ends.values()} == {5.0}


def test_angles_are_continuous_over_whole_turns(tmp_path, walking):
    angle = np.linspace(0, 6 * np.pi, 240)  # three turns on the spot, 4.5 degrees per frame
    pose = walking[0] - walking[0, 0]
    turn = about(2, angle)
    write_bvh(motion_of(np.einsum("tij,kj->tki", turn, pose) + np.array([0, 0, 1])), tmp_path / "motion.bvh")
    rows = Bvh(tmp_path / "motion.bvh").rows
    assert np.abs(np.diff(rows[:, 3:], axis=0)).max() < 5
    assert np.ptp(rows[:, 5]) == pytest.approx(6 * 180, abs=1)


def test_angles_are_continuous_in_a_somersault(tmp_path):
    write_bvh(motion_of(somersaults(np.linspace(0.02, 6 * np.pi, 240))), tmp_path / "motion.bvh")
    root = Bvh(tmp_path / "motion.bvh").rows[:, 3:6]
    assert np.abs(np.diff(root, axis=0)).max() < 5
    assert np.ptp(root[:, 1]) == pytest.approx(6 * 180, abs=2)


def test_angles_of_a_person_are_continuous(lifted, tmp_path):
    write_bvh(lifted, tmp_path / "motion.bvh")
    assert np.abs(np.diff(Bvh(tmp_path / "motion.bvh").rows[:, 3:], axis=0)).max() < 20
