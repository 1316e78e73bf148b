"""Readers of benchmark files: truth in camera axes, keypoints on it, and refusals of damaged or hostile files."""

import pickle
import re

import h5py
import numpy as np
import pytest

from data_contracts.benchmarks.clips import check_clip
from data_contracts.benchmarks.files import find_benchmark
from data_contracts.benchmarks.protocols import PROTOCOLS, Benchmark
from data_contracts.detector_skeletons import Detector
from data_contracts.errors import InputError
from data_contracts.parameters import KeypointsParameters
from data_contracts.skeleton import JOINTS
from tasks.benchmarks.h36m_cameras import CAMERAS
from tasks.benchmarks.importing import READERS, import_files
from tasks.ingest.formats.joint_sets import H36M_32_TO_17
from tasks.stage import Context
from tests.model.lifting.walkers import before_a_camera
from tests.tasks.benchmarks.benchmark_files import (
    h36m_world,
    project,
    sequence_3dpw,
    write_3dhp_mat,
    write_3dhp_npz,
    write_3dpw,
    write_h36m,
)
from tests.tasks.ingest.motion_files import Command
from tests.tasks.lifting.formats.writing import seen_by

OPTIONS = KeypointsParameters()


def clips_of(benchmark, path, options=OPTIONS):
    clips = list(READERS[benchmark](find_benchmark(benchmark, path), options))
    for clip in clips:
        check_clip(clip)
    return clips


def rays_of(clip):
    return clip.truth[..., :2] / clip.truth[..., 2:]


def test_the_test_subjects_of_h36m_are_seen_by_four_cameras(walking, tmp_path):
    clips = clips_of(Benchmark.H36M, write_h36m(tmp_path, walking))
    assert {clip.subject for clip in clips} == {"S9", "S11"}
    assert [clip.group for clip in clips] == ["Walking"] * 8 + ["Eating"] * 4 + ["Walking"] * 4
    assert {clip.fps for clip in clips} == {50.0}
    for clip in clips:
        assert clip.scored.all()
        np.testing.assert_allclose(clip.keypoints[..., :2], rays_of(clip), atol=1e-5)
    world = h36m_world(walking)[:, H36M_32_TO_17]
    for clip, camera in zip(clips, CAMERAS["S9"], strict=False):
        np.testing.assert_allclose(clip.truth, camera.to_camera(world), atol=1e-5)


@pytest.mark.parametrize("subject", CAMERAS)
def test_the_cameras_of_h36m_stand_around_the_middle_and_are_upright(subject):
    middle, up = np.array([0, 0, 0.9]), np.array([0, 0, 1.0])
    for camera in CAMERAS[subject]:
        x, y, distance = camera.to_camera(middle)
        assert np.hypot(x, y) / distance < 0.2
        assert 3 < distance < 7
        assert 1.4 < camera.position[2] < 1.7
        assert camera.to_camera(up)[1] < camera.to_camera(0 * up)[1]


def test_the_metadata_determine_the_layout_of_keypoints(walking, tmp_path):
    write_h36m(tmp_path, walking)
    world = h36m_world(walking)[:, H36M_32_TO_17]

    def coco(camera):
        fx, fy, cx, cy = camera.intrinsics
        return project(seen_by(Detector.COCO17, camera.to_camera(world)), (fx, fy), (cx, cy))

    seen = {
        subject: {action: [coco(camera) for camera in cameras] for action in ("Walking 1", "Walking", "Eating")}
        for subject, cameras in CAMERAS.items()
    }
    np.savez(tmp_path / "data_2d_h36m_gt.npz", positions_2d=seen, metadata={"layout_name": "coco"})
    clip = clips_of(Benchmark.H36M, tmp_path)[0]
    wrists = [JOINTS.index("left_wrist"), JOINTS.index("right_wrist")]
    np.testing.assert_allclose(clip.keypoints[:, wrists, :2], rays_of(clip)[:, wrists], atol=1e-5)
    np.savez(tmp_path / "data_2d_h36m_gt.npz", positions_2d=seen, metadata={"layout_name": "custom"})
    with pytest.raises(InputError, match="layout of the keypoints is custom; expected one of h36m, coco"):
        clips_of(Benchmark.H36M, tmp_path)


@pytest.mark.parametrize("write", [write_3dhp_mat, write_3dhp_npz])
def test_sequences_of_3dhp_are_in_the_order_of_h36m_and_have_fitted_intrinsics(write, walking, tmp_path):
    clips = clips_of(Benchmark.MPI_INF_3DHP, write(tmp_path, walking))
    assert [clip.name for clip in clips] == ["TS1", "TS2"]
    for clip in clips:
        np.testing.assert_allclose(clip.truth, before_a_camera(walking), atol=1e-5)
        np.testing.assert_allclose(clip.keypoints[..., :2], rays_of(clip), atol=1e-4)
        np.testing.assert_array_equal(clip.scored, np.arange(len(walking)) % 3 > 0)
        assert clip.fps == 25
    assert clips_of(Benchmark.MPI_INF_3DHP, tmp_path, KeypointsParameters(fps=50))[0].fps == 50


@pytest.mark.parametrize("protocol", [0, 2])
def test_people_of_3dpw_with_scored_frames_are_in_camera_axes(protocol, walking, tmp_path):
    (clip,) = clips_of(Benchmark.THREE_DPW, write_3dpw(tmp_path, walking, protocol))
    limbs = [PROTOCOLS[Benchmark.THREE_DPW].joints.index(name) for name in ("right_knee", "left_wrist")]
    joints = [PROTOCOLS[Benchmark.THREE_DPW].indices[limb] for limb in limbs]
    expected = before_a_camera(walking, pitch_deg=0.0)
    np.testing.assert_allclose(clip.truth[:, joints], expected[:, joints], atol=1e-4)
    np.testing.assert_allclose(clip.keypoints[30:, joints, :2], rays_of(clip)[30:, joints], atol=1e-4)
    head = JOINTS.index("head")
    assert np.linalg.norm(clip.truth[:, head] - expected[:, head], axis=-1).max() < 0.1  # estimated
    np.testing.assert_array_equal(clip.scored, np.arange(len(walking)) >= 10)
    assert clip.detected.all()  # the gap of five frames is interpolated
    (clip,) = clips_of(Benchmark.THREE_DPW, tmp_path, KeypointsParameters(max_gap=4))
    assert np.flatnonzero(~clip.detected).tolist() == [20, 21, 22, 23, 24]
    assert not clip.keypoints[20:25].any()


def test_weak_keypoints_are_missing(walking, tmp_path):
    sequence = sequence_3dpw(walking)
    sequence["poses2d"][0][:, 2, 4] = 0.04  # the right wrist
    (clip,) = clips_of(Benchmark.THREE_DPW, write_3dpw(tmp_path, walking, poses2d=sequence["poses2d"]))
    assert not clip.keypoints[:, JOINTS.index("right_wrist")].any()
    assert clip.keypoints[:, JOINTS.index("left_wrist"), 2].any()


# Refusals


def changed_3dpw(walking, name, change):
    """Return a list of a sequence's arrays with the first one changed."""
    arrays = sequence_3dpw(walking)[name]
    return {name: [change(arrays[0]), *arrays[1:]]} if isinstance(arrays, list) else {name: change(arrays)}


@pytest.mark.parametrize(
    ("name", "change", "fault"),
    [
        ("jointPositions", lambda array: array[:-1], "195 frames of joints, 196 of keypoints"),
        ("jointPositions", lambda array: array[:, :66], r"shape \(196, 66\); expected \(frames, 72\)"),
        ("jointPositions", lambda array: array * np.nan, "NaN or infinity"),
        ("jointPositions", lambda array: array * 1000, "unit, axes or camera differ"),
        ("jointPositions", lambda array: "text", "is str; expected an array of numbers"),
        ("jointPositions", lambda array: [0.0], "is list; expected an array of numbers"),
        ("poses2d", lambda array: array[:, :2], r"expected \(frames, 3, 18\)"),
        ("poses2d", lambda array: array[:, :, ::-1].copy(), "people, joints or cameras"),
        ("campose_valid", lambda array: array[None], r"shape \(1, 196\)"),
        ("cam_poses", lambda array: array[:, :3], r"expected \(frames, 4, 4\)"),
        ("cam_poses", lambda array: np.linalg.inv(array) @ np.diag([1, 1, -1, 1.0]), "unit, axes or camera differ"),
        ("cam_intrinsics", lambda array: array * 0, "focal lengths 0 and 0 px"),
        ("cam_intrinsics", lambda array: array.T.copy() * 5, "people, joints or cameras"),
    ],
)
def test_a_damaged_sequence_of_3dpw_is_refused(name, change, fault, walking, tmp_path):
    write_3dpw(tmp_path, walking, **changed_3dpw(walking, name, change))
    with pytest.raises(InputError, match=fault):
        clips_of(Benchmark.THREE_DPW, tmp_path)


def test_a_sequence_without_an_entry_or_with_unequal_lists_is_refused(walking, tmp_path):
    write_3dpw(tmp_path, walking, poses2d=[sequence_3dpw(walking)["poses2d"][0]])
    with pytest.raises(InputError, match="jointPositions, poses2d, campose_valid have 2, 1, 2 people"):
        clips_of(Benchmark.THREE_DPW, tmp_path)
    (file,) = (tmp_path / "sequenceFiles" / "test").glob("*.pkl")
    file.write_bytes(pickle.dumps({"poses": np.zeros((3, 72))}))
    with pytest.raises(InputError, match=rf"{file.name}: has no entry cam_poses"):
        clips_of(Benchmark.THREE_DPW, tmp_path)
    for content, fault in ((Command(), r"print is not allowed"), ([1, 2], "contains a list; expected a dict")):
        file.write_bytes(pickle.dumps(content))
        with pytest.raises(InputError, match=fault):
            clips_of(Benchmark.THREE_DPW, tmp_path)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"annot2": np.zeros((196, 1, 14, 2))}, r"2D: shape \(196, 14, 2\); expected \(frames, 17, 2\)"),
        ({"univ_annot3": np.zeros((196, 1, 17, 3))}, "behind the camera"),
        ({"univ_annot3": np.full((196, 1, 17, 3), np.nan)}, "NaN"),
        ({"univ_annot3": np.random.default_rng(0).uniform(1000, 2000, (196, 1, 17, 3))}, "no camera projects"),
        ({"valid_frame": np.zeros((196, 1))}, "no frame is marked as valid"),
        ({"valid_frame": np.ones((100, 1))}, "196 frames of 2D, 196 of 3D and 100 of validity"),
        ({"valid_frame": np.float64(1)}, "expected an array of numbers"),
        ({"annot2": np.full((196, 1, 17, 2), b"x")}, "expected an array of numbers"),
    ],
)
def test_a_damaged_sequence_of_3dhp_is_refused(change, fault, walking, tmp_path):
    write_3dhp_mat(tmp_path, walking, **change)
    with pytest.raises(InputError, match=rf"annot_data\.mat.*{fault}"):
        clips_of(Benchmark.MPI_INF_3DHP, tmp_path)


def link(file, other):
    file["valid_frame"] = h5py.ExternalLink(str(other), "valid_frame")


def external(file, other):
    file.create_dataset("valid_frame", (196, 1), "f8", external=[(str(other), 0, 8 * 196)])


def virtual(file, other):
    layout = h5py.VirtualLayout((196, 1), "f8")
    layout[:] = h5py.VirtualSource(str(other), "valid_frame", (196, 1))
    file.create_virtual_dataset("valid_frame", layout)


@pytest.mark.parametrize("refer", [link, external, virtual, lambda file, _: file.create_group("valid_frame")])
def test_arrays_in_other_files_are_not_read(refer, walking, tmp_path):
    write_3dhp_mat(tmp_path, walking)
    own, other = (tmp_path / name / "annot_data.mat" for name in ("TS1", "TS2"))
    with h5py.File(own, "r+") as file:
        del file["valid_frame"]
        refer(file, other)
    with pytest.raises(InputError, match="no array valid_frame in this file"):
        clips_of(Benchmark.MPI_INF_3DHP, tmp_path)


@pytest.mark.parametrize(
    ("shape", "options", "fault"),
    [
        ((10_000, 1), {"dtype": "S100000000"}, "expected an array of numbers"),
        ((10**9, 1), {"dtype": "f8"}, "8,000,000,000 bytes of memory"),
        ((10, 1), {"dtype": "f8", "chunks": (10**8, 1), "maxshape": (None, 1)}, "800,000,000 bytes of memory"),
    ],
)
def test_a_small_file_does_not_take_much_memory(shape, options, fault, walking, tmp_path):
    write_3dhp_mat(tmp_path, walking)
    with h5py.File(tmp_path / "TS1" / "annot_data.mat", "r+") as file:
        del file["valid_frame"]
        file.create_dataset("valid_frame", shape, **options)
    with pytest.raises(InputError, match=rf"annot_data\.mat.*valid_frame .*{fault}"):
        clips_of(Benchmark.MPI_INF_3DHP, tmp_path)


def test_a_file_of_another_format_is_no_mat_file(tmp_path):
    (tmp_path / "TS1").mkdir()
    (tmp_path / "TS1" / "annot_data.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    with pytest.raises(InputError, match=r"annot_data\.mat: is not a valid annot_data\.mat of MPI-INF-3DHP"):
        clips_of(Benchmark.MPI_INF_3DHP, tmp_path)


def changed_h36m(folder, name, change):
    """Write an .npz of Human3.6M again with its dict of subjects changed."""
    file = folder / name
    with np.load(file, allow_pickle=True) as arrays:
        members = {key: arrays[key].item() for key in arrays}
    key = next(key for key in members if key.startswith("positions"))
    change(members[key])
    np.savez(file, **members)


@pytest.mark.parametrize(
    ("name", "change", "fault"),
    [
        ("data_3d_h36m.npz", lambda tree: tree.pop("S9"), "positions_3d: has no entry S9"),
        ("data_3d_h36m.npz", lambda tree: tree.update(S9=[1]), "S9 is a list; expected a dict"),
        ("data_3d_h36m.npz", lambda tree: tree["S9"].update(Eating=np.zeros((5, 17, 3))), r"shape \(5, 17, 3\)"),
        ("data_3d_h36m.npz", lambda tree: tree["S9"].update(Eating=np.zeros((5, 32, 3))), "S9 Eating"),
        ("data_2d_h36m_gt.npz", lambda tree: tree["S9"].pop("Eating"), "S9: has no entry Eating"),
        ("data_2d_h36m_gt.npz", lambda tree: tree["S9"]["Eating"].pop(), "S9 Eating has 3 cameras; expected 4"),
        (
            "data_2d_h36m_gt.npz",
            lambda tree: tree["S9"]["Eating"].reverse(),
            "people, joints or cameras",
        ),
        (
            "data_2d_h36m_gt.npz",
            lambda tree: tree["S9"].update(Eating=np.zeros((4, 9, 17, 2))),
            "9 frames of 2D, but",
        ),
        ("data_2d_h36m_gt.npz", lambda tree: tree["S9"].update(Eating={"a": 1}), "a dict; expected a list of arrays"),
        ("data_2d_h36m_gt.npz", lambda tree: tree["S9"].update(Eating=Command()), "print is not allowed"),
    ],
)
def test_a_damaged_file_of_h36m_is_refused(name, change, fault, walking, tmp_path):
    changed_h36m(write_h36m(tmp_path, walking[:30]), name, change)
    with pytest.raises(InputError, match=re.escape(fault) if "(" not in fault else fault):
        clips_of(Benchmark.H36M, tmp_path)


def test_a_refused_import_leaves_nothing(walking, tmp_path, parameters):
    folder = write_h36m(tmp_path / "files", walking[:30])
    changed_h36m(folder, "data_3d_h36m.npz", lambda tree: tree["S11"].update({"Walking 1": np.zeros((30, 32, 3))}))
    with pytest.raises(InputError, match=rf"^{folder}: S11 Walking 1"):
        import_files(Context(tmp_path / "store", parameters), find_benchmark(Benchmark.H36M, folder))
    assert not list((tmp_path / "store" / "benchmarks").glob("[!.]*"))
