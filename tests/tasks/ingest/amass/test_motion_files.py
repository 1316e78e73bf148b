"""Motion files of AMASS are read without unpickling, and a bad file is refused with its fault."""

import random

import numpy as np
import pytest

from data_contracts.errors import InputError
from data_contracts.motion.body_models import find_body_models
from tasks.ingest.amass import motion_files
from tasks.ingest.amass.body_models import load_models
from tasks.ingest.amass.motion_files import read_body_motion
from tests.tasks.ingest.amass.body_files import smplh_motion, smplx_motion, write_models
from tests.tasks.ingest.amass.mutants import motion_seeds, mutant_motion, pose_mutant
from tests.tasks.ingest.motion_files import header, npy


@pytest.fixture
def write(tmp_path):
    def write(arrays):
        np.savez(tmp_path / "file.npz", **arrays)
        return tmp_path / "file.npz"

    return write


@pytest.mark.parametrize("gender", [b"female", "female", np.array("female"), np.array([b"female"]), "FEMALE"])
def test_a_gender_of_bytes_or_text_is_read(write, gender):
    assert read_body_motion(write(smplh_motion(gender=gender))).gender == "female"


def test_both_sets_of_keys_give_poses_and_rates(write):
    arrays = smplh_motion(fps=120.0)
    motion = read_body_motion(write(arrays))
    np.testing.assert_array_equal(motion.poses, arrays["poses"])
    np.testing.assert_array_equal(motion.trans, arrays["trans"])
    assert motion.fps == 120.0
    arrays = smplx_motion(fps=100.0)
    motion = read_body_motion(write(arrays))
    assert motion.poses.shape == (200, 165)
    np.testing.assert_array_equal(motion.poses[:, 3:66], arrays["pose_body"])
    np.testing.assert_array_equal(motion.poses[:, 75:], arrays["pose_hand"])
    assert (motion.fps, motion.gender) == (100.0, "neutral")


def test_without_face_and_hands_they_are_at_rest(write):
    arrays = smplx_motion()
    for name in ("pose_jaw", "pose_eye", "pose_hand"):
        del arrays[name]
    assert not read_body_motion(write(arrays)).poses[:, 66:].any()


def test_a_file_without_poses_is_no_motion(write):
    assert read_body_motion(write({"betas": np.zeros(16), "gender": "male"})) is None


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"poses": np.array({"a": 1}, dtype=object)}, "an object array"),
        ({"poses": np.zeros((240, 72))}, r"poses are float64 \(240, 72\)"),
        ({"poses": np.zeros((240, 156, 1))}, r"\(240, 156, 1\)"),
        ({"poses": np.zeros((0, 156)), "trans": np.zeros((0, 3))}, "0 frames"),
        ({"poses": np.array("text")}, "poses are str"),
        ({"trans": np.zeros((239, 3))}, r"trans is float64 \(239, 3\); expected numbers \(240, 3\)"),
        ({"betas": np.zeros((240, 16))}, r"betas is float64 \(240, 16\)"),
        ({"mocap_framerate": -120.0}, "the frame rate is -120"),
        ({"mocap_framerate": np.nan}, "the frame rate is nan"),
        ({"mocap_framerate": "fast"}, "the frame rate is nan"),
        ({"gender": "unknown"}, "gender is 'unknown'; expected female, male, neutral"),
        ({"gender": np.array(["male", "male"])}, "gender is ''"),
    ],
)
def test_a_bad_array_is_refused(write, changed, fault):
    with pytest.raises(InputError, match=rf"file\.npz.*{fault}"):
        read_body_motion(write(smplh_motion() | changed))


@pytest.mark.parametrize("name", ["trans", "betas", "gender", "mocap_framerate"])
def test_a_missing_array_is_refused(write, name):
    arrays = smplh_motion()
    del arrays[name]
    with pytest.raises(InputError, match=rf"file\.npz: no .*{name}"):
        read_body_motion(write(arrays))


def test_hands_that_never_move_are_read_although_they_are_compressed_a_thousandfold(tmp_path):
    np.savez_compressed(tmp_path / "file.npz", **smplx_motion(60.0) | {"pose_hand": np.zeros((6000, 90))})
    assert read_body_motion(tmp_path / "file.npz").poses.shape == (6000, 165)


def test_a_size_that_does_not_fit_is_refused_before_it_is_allocated(write_zip, monkeypatch):
    members = [(f"{name}.npy", npy(np.asarray(array))) for name, array in smplh_motion().items()]
    path = write_zip(("poses.npy", header("(9999999999, 156)")), *members[1:])
    with pytest.raises(InputError, match=r"file\.npz!poses\.npy: refused .*takes 12479999998752 bytes"):
        read_body_motion(path)
    monkeypatch.setattr(motion_files, "_MOST_BYTES", 300_000)
    path = write_zip(*members)
    with pytest.raises(InputError, match=r"trans\.npy: refused: its entry declares 5888 bytes .* at most 352 are"):
        read_body_motion(path)


def test_mutated_files_are_refused_or_posed(tmp_path):
    generator, seeds = random.Random(0), motion_seeds()
    models = load_models(find_body_models(write_models(tmp_path / "models")))
    outcomes = set()
    for _ in range(300):
        (tmp_path / "file.npz").write_bytes(mutant_motion(generator, seeds))
        outcomes.add(pose_mutant(tmp_path / "file.npz", models))
    assert outcomes == {"refused", "posed", "no poses"}
