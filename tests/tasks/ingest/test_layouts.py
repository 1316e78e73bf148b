"""Motions of a file in each supported layout, read from real files, and refusal of other layouts."""

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_contracts.errors import InputError
from data_contracts.parameters import Layout
from tasks.ingest.formats.joint_sets import H36M_32_TO_17
from tasks.ingest.layouts import (
    ArrayRef,
    Motion,
    decide_layout,
    find_motions,
    is_amass_to_3dhpe,
    to_frames_first,
)
from tasks.ingest.plan import Survey
from tasks.ingest.reading import read_motion_file

SOURCE = Path("file.pkl")


def survey(path: Path) -> tuple[list[Motion], list[np.ndarray]]:
    """Return the motions of a file, and their clips, frames first, from a second pass."""
    tree = read_motion_file(path, Survey().add)
    motions = find_motions(path, tree)
    layout = decide_layout(path, [motion.shape for motion in motions], Layout.AUTO)
    arrays: list[np.ndarray] = []
    read_motion_file(path, arrays.append)
    clips = [arrays[motion.array] if motion.part is None else arrays[motion.array][motion.part] for motion in motions]
    return motions, [to_frames_first(clip, layout) for clip in clips]


@pytest.fixture
def clips(walking) -> list[np.ndarray]:
    """Return three clips (17, frames, 3) of different lengths."""
    return [np.ascontiguousarray(walking[:frames].transpose(1, 0, 2), np.float64) for frames in (90, 40, 64)]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(tree: Any, name: str = "file.pkl", protocol: int = 4) -> Path:
        (tmp_path / name).write_bytes(pickle.dumps(tree, protocol))
        return tmp_path / name

    return write


def assert_clips(clips: list[np.ndarray], joints_first: list[np.ndarray]) -> None:
    assert len(clips) == len(joints_first)
    for clip, expected in zip(clips, joints_first, strict=True):
        np.testing.assert_array_equal(clip, expected.transpose(1, 0, 2))


# Layouts


@pytest.mark.parametrize("container", [list, tuple])
@pytest.mark.parametrize("protocol", range(6))
def test_a_list_of_arrays_is_read_with_every_protocol(protocol, container, clips, write):
    motions, frames_first_clips = survey(write(container(clips), protocol=protocol))
    assert_clips(frames_first_clips, clips)
    assert motions == [Motion(index, None, clip.shape) for index, clip in enumerate(clips)]


def test_a_list_of_frames_first_arrays_is_read(clips, write):
    assert_clips(survey(write([clip.transpose(1, 0, 2) for clip in clips]))[1], clips)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_arrays_of_an_npz_have_their_member_names(save, clips, tmp_path):
    save(tmp_path / "a.npz", walk=clips[0], run=clips[1], sit=clips[2])
    motions, frames_first_clips = survey(tmp_path / "a.npz")
    assert_clips(frames_first_clips, clips)
    assert [motion.name for motion in motions] == ["walk", "run", "sit"]


def test_the_arrays_and_stacks_of_a_dict_have_names(clips, write):
    stack = np.stack([clips[1], clips[1] * 2])
    motions, frames_first_clips = survey(write({"walk": clips[0], 7: stack}))
    assert_clips(frames_first_clips, [clips[0], *stack])
    assert [(motion.name, motion.array, motion.part) for motion in motions] == [
        ("walk", 0, None),
        ("7_0", 1, 0),
        ("7_1", 1, 1),
    ]


@pytest.mark.parametrize("frames_first", [False, True])
def test_an_npy_may_contain_one_clip_or_a_stack(frames_first, clips, tmp_path):
    stack = np.stack([clips[0], clips[0] * 1.1])
    for array, expected in ((clips[0], [clips[0]]), (stack, list(stack))):
        np.save(tmp_path / "a.npy", array.swapaxes(-3, -2) if frames_first else array)
        motions, frames_first_clips = survey(tmp_path / "a.npy")
        assert_clips(frames_first_clips, expected)
        assert [motion.part for motion in motions] == ([None] if array.ndim == 3 else [0, 1])


def test_an_npy_of_objects_is_read_as_a_list(clips, tmp_path):
    array = np.empty(3, object)
    array[:] = clips
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    assert_clips(survey(tmp_path / "a.npy")[1], clips)


def test_joints_may_have_descriptions_per_clip_or_for_all(clips, write, tmp_path):
    described = {
        "joints": clips,
        "names": ["a", "b", "c"],
        "subject": "S1",
        "actions": ("x", "y", "z"),
        "fps": [50, 60.0, 120],
    }
    motions, frames_first_clips = survey(write(described))
    assert_clips(frames_first_clips, clips)
    assert [(m.name, m.subject, m.action, m.fps) for m in motions] == [
        ("a", "S1", "x", 50.0),
        ("b", "S1", "y", 60.0),
        ("c", "S1", "z", 120.0),
    ]
    stack = np.stack([clips[0], clips[0] * 2])
    np.savez(
        tmp_path / "a.npz",
        joints=stack,
        subjects=np.array(["S1", "S2"]),
        action=np.array("walk"),
        fps=np.array([50, 25]),
    )
    motions, frames_first_clips = survey(tmp_path / "a.npz")
    assert_clips(frames_first_clips, list(stack))
    assert [(m.part, m.name, m.subject, m.action, m.fps) for m in motions] == [
        (0, "", "S1", "walk", 50.0),
        (1, "", "S2", "walk", 25.0),
    ]
    (only,) = survey(write({"joints": clips[0], "fps": np.float32(100)}))[0]
    assert (only.name, only.fps) == ("", 100.0)


def test_videopose3d_files_have_subjects_actions_and_17_of_32_joints(clips, tmp_path):
    frames = clips[0].shape[1]
    h36m = np.full((frames, 32, 3), np.nan)
    h36m[:, list(H36M_32_TO_17)] = clips[0].transpose(1, 0, 2)
    takes = {"S1": {"Walking 1": h36m}, "S9": {"Eating": [clips[1].transpose(1, 0, 2), clips[2].transpose(1, 0, 2)]}}
    np.savez_compressed(tmp_path / "data_3d_h36m.npz", positions_3d=takes)
    motions, frames_first_clips = survey(tmp_path / "data_3d_h36m.npz")
    assert_clips(frames_first_clips, clips)
    assert [(m.name, m.subject, m.action) for m in motions] == [
        ("S1_Walking 1", "S1", "Walking 1"),
        ("S9_Eating_0", "S9", "Eating"),
        ("S9_Eating_1", "S9", "Eating"),
    ]


def test_the_17_joints_are_the_joints_that_videopose3d_keeps():
    removed = [4, 5, 9, 10, 11, 16, 20, 21, 22, 23, 24, 28, 29, 30, 31]
    assert [joint for joint in range(32) if joint not in removed] == list(H36M_32_TO_17)


def test_amass_to_3dhpe_files_have_data_set_subject_sequence_and_rate(clips, tmp_path):
    takes = {"s1": {"walk_poses": {"positions_3d": clips[0].transpose(1, 0, 2), "frame_rate": np.float64(120)}}}
    cameras = {"s1": np.zeros((4, 3))}
    np.savez(tmp_path / "CMU.npz", cameras=np.array(cameras), positions_3d=np.array(takes), metadata={"num_joints": 17})
    (motion,), frames_first_clips = survey(tmp_path / "CMU.npz")
    assert_clips(frames_first_clips, clips[:1])
    assert motion == Motion(1, None, (90, 17, 3), "CMU_s1_walk_poses", "CMU_s1", "", 120.0)
    assert is_amass_to_3dhpe(read_motion_file(tmp_path / "CMU.npz", Survey().add))


def test_only_takes_with_a_rate_are_amass_to_3dhpe(clips, write):
    for tree in (clips, {"a": clips[0]}, {"positions_3d": {"S1": {"walk": clips[0]}}}, {"positions_3d": clips}):
        assert not is_amass_to_3dhpe(read_motion_file(write(tree), Survey().add))


def test_an_empty_clip_is_a_motion_for_the_quarantine(clips, write):
    motions, frames_first_clips = survey(
        write([clips[0], np.zeros((0,)), np.zeros(5), np.zeros((2, 2)), clips[1][:, :0], clips[1]])
    )
    assert [motion.shape for motion in motions] == [(17, 90, 3), (0,), (5,), (2, 2), (17, 0, 3), (17, 40, 3)]
    assert [clip.shape for clip in frames_first_clips] == [(90, 17, 3), (0,), (5,), (2, 2), (0, 17, 3), (40, 17, 3)]


# Refused files


@pytest.mark.parametrize(
    ("tree", "outline"),
    [
        (lambda clip: {"poses": np.zeros((90, 156)), "betas": np.zeros(16)},
         r"dict of 2 \('poses': array \(90, 156\), 'betas': array \(16,\)\)"),
        (lambda clip: {"a": clip, "fps": 60}, r"dict of 2 \('a': array \(17, 90, 3\), 'fps': int\)"),
        (lambda clip: [clip, clip * 2, clip * 3, clip * 4, None, "x"],
         r"list of 6 \(array \(17, 90, 3\), .*, item 4: NoneType, \.\.\.\)"),
        (lambda clip: [{"clip": clip}], r"list of 1 \(dict of 1 \('clip': array \(17, 90, 3\)\)\)"),
        (lambda clip: {"positions_3d": [clip]}, r"dict of 1 \('positions_3d': list of 1 \(array \(17, 90, 3\)\)\)"),
        (lambda clip: {"positions_3d": {"S1": {"walk": "x"}}}, r"'walk': str"),
        (lambda clip: {"positions_3d": {"S1": {"walk": {"frame_rate": 60}}}}, r"'walk': dict of 1\)"),
        (lambda clip: {"joints": "clip"}, r"'joints': str"),
        (lambda clip: {"joints": []}, r"'joints': list of 0\)"),
        (lambda clip: [], "list of 0"),
        (lambda clip: {}, "dict of 0"),
        (lambda clip: "text", "str"),
        (lambda clip: np.zeros((90, 51)), r"array \(90, 51\)"),
        (lambda clip: np.array([True]), r"bool array \(1,\)"),
        (lambda clip: clip.tolist(), "list of 17 "),
    ],
)  # fmt: skip
def test_an_unknown_layout_is_refused_with_an_outline_of_the_file(tree, outline, clips, write):
    with pytest.raises(
        InputError, match=rf"file\.pkl: no motion found in .*{outline}.*\. Supported layouts: a list of arrays"
    ):
        survey(write(tree(clips[0])))


def test_the_number_of_descriptions_must_match_the_clips(clips, write):
    for key in ("names", "subjects", "subject", "actions", "fps"):
        with pytest.raises(InputError, match=rf"file\.pkl: {key} has 2 values for 3 clips"):
            survey(write({"joints": clips, key: [1, 2]}))


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf"), 1e9, "60", True, 10**100, [60], {}])
def test_an_invalid_frame_rate_is_refused(rate, clips, write):
    with pytest.raises(InputError, match=r"file\.pkl: the frame rate is .+; expected a number above 0"):
        survey(write({"joints": clips, "fps": [60, rate, 60]}))


NESTED: list[Any] = []
for _ in range(100_000):
    NESTED = [NESTED]


@pytest.mark.parametrize("name", ["a\n", "\ud800", "\x1b[31m", "a" * 301, 1.5, int, (1, 2)])
def test_an_invalid_name_is_refused(name, clips):
    ref = ArrayRef(0, (17, 90, 3))
    for tree in ({name: ref}, {"positions_3d": {"S": {name: ref}}}, {"joints": [ref], "names": [name]}):
        with pytest.raises(InputError, match=r"file\.pkl: invalid name .+") as refusal:
            find_motions(SOURCE, tree)
        assert str(refusal.value).isprintable()


def test_numbers_of_many_digits_are_not_printed():
    ref = ArrayRef(0, (17, 90, 3))
    for tree in ({10**6000: ref}, {"joints": ref, "names": [10**6000]}, {"joints": ref, "fps": 10**6000}):
        with pytest.raises(InputError, match=r"file\.pkl: (invalid name|the frame rate is) int\b"):
            find_motions(SOURCE, tree)


def test_deeply_nested_lists_are_refused_without_recursion(clips):
    ref = ArrayRef(0, (17, 90, 3))
    for tree in (NESTED, {"joints": ref, "names": [NESTED]}, {"joints": NESTED}, {"joints": ref, "fps": [NESTED]}):
        with pytest.raises(InputError, match="list of 1"):
            find_motions(SOURCE, tree)


def test_a_clip_may_occur_twice_but_a_stack_is_refused(clips, write):
    motions, _ = survey(write([clips[0], clips[1], clips[0]]))
    assert [motion.array for motion in motions] == [0, 1, 0]
    stack = np.stack([clips[0], clips[0] + 1])
    with pytest.raises(InputError, match="one array of clips is in two places"):
        survey(write([stack, stack]))


def test_a_huge_stack_without_joints_is_refused_before_its_clips_are_listed(tmp_path):
    empty = io.BytesIO()
    np.lib.format.write_array_header_1_0(empty, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 17, 0, 3)})
    (tmp_path / "a.npy").write_bytes(empty.getvalue())
    with pytest.raises(InputError, match="no motion found"):
        survey(tmp_path / "a.npy")
