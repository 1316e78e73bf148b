"""Joints of posed body models agree with the package smplx."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.spatial.transform import Rotation
from smplx.lbs import lbs

from tasks.ingest.amass.body_models import load_models
from tasks.ingest.amass.posing import rotations
from tests.tasks.ingest.amass.body_files import SMPLH_BONES, SMPLX_BONES, body_model, regressor_of, walk


def by_smplx(model, betas, poses, trans):
    """Return the vertices and bones of smplx."""
    shapes = model["shapedirs"][..., : len(betas)]
    tensors = [betas[None], poses, model["v_template"], shapes, model["posedirs"].reshape(-1, poses.shape[1] * 3 - 9).T]
    betas, poses, template, shapes, posedirs = (torch.as_tensor(np.ascontiguousarray(one)) for one in tensors)
    parents = torch.as_tensor(model["kintree_table"][0].astype(np.int32).astype(np.int64))
    bones, weights = torch.as_tensor(model["J_regressor"]), torch.as_tensor(model["weights"])
    vertices, joints = lbs(betas.expand(len(poses), -1), poses, template, shapes, posedirs, bones, parents, weights)
    return vertices.numpy() + trans[:, None], joints.numpy() + trans[:, None]


@pytest.fixture(params=[SMPLH_BONES, SMPLX_BONES], ids=["SMPL-H", "SMPL-X"])
def model(request):
    return body_model(request.param)


def loaded(folder, model, regressor=None):
    np.savez(folder / "male.npz", **model)
    files = [folder / "male.npz"]
    if regressor is not None:
        np.save(folder / "J_regressor_h36m.npy", regressor)
        files.append(folder / "J_regressor_h36m.npy")
    (found,) = load_models(tuple(files)).values()
    return found


def motion(model):
    random = np.random.default_rng(0)
    bones = model["J_regressor"].shape[0]
    poses, trans = walk(1.0, 120.0, bones)
    return random.normal(0, 1, 10), poses + random.normal(0, 0.3, poses.shape), trans


def test_regressed_joints_agree_with_smplx(model, tmp_path):
    betas, poses, trans = motion(model)
    random = np.random.default_rng(1)
    regressor = regressor_of(model) + random.normal(0, 1e-3, (17, len(model["v_template"])))  # as rows that overlap
    vertices, _ = by_smplx(model, betas, poses, trans)
    joints = loaded(tmp_path, model, regressor).joints(betas).pose(poses, trans)
    assert joints.dtype == np.float32
    np.testing.assert_allclose(joints, regressor @ vertices, atol=1e-5)


def test_without_a_regressor_the_joints_are_those_of_the_skeleton(model, tmp_path):
    betas, poses, trans = motion(model)
    _, bones = by_smplx(model, betas, poses, trans)
    joints = loaded(tmp_path, model).joints(betas).pose(poses, trans)
    for joint, bone in ((2, 5), (3, 8), (5, 4), (6, 7), (11, 16), (12, 18), (13, 20), (14, 17), (15, 19), (16, 21)):
        np.testing.assert_allclose(joints[:, joint], bones[:, bone], atol=1e-5)
    hips = bones[:, 1:3]
    np.testing.assert_allclose(joints[:, 0], hips.mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(joints[:, 4] - joints[:, 1], 1.3 * (hips[:, 0] - hips[:, 1]), atol=1e-5)
    head = np.linalg.norm(joints[:, [9, 10]] - bones[:, 15, None], axis=-1)
    assert (np.ptp(head, axis=0) < 1e-5).all()  # fixed to the head
    np.testing.assert_allclose(head[0], [0.067, 0.172], atol=0.02)  # metres


def test_a_regressor_with_the_left_leg_first_is_put_into_order(model, tmp_path):
    betas, poses, trans = motion(model)
    regressor = regressor_of(model)
    swapped = regressor[[0, 4, 5, 6, 1, 2, 3, *range(7, 17)]]
    (tmp_path / "swapped").mkdir()
    joints = loaded(tmp_path, model, regressor).joints(betas).pose(poses, trans)
    np.testing.assert_array_equal(joints, loaded(tmp_path / "swapped", model, swapped).joints(betas).pose(poses, trans))


@given(arrays.arrays(np.float64, (5, 3), elements=st.floats(-7, 7)))
def test_rotations_are_those_of_scipy(vectors):
    ours = rotations(vectors.T.astype(np.float32))
    np.testing.assert_allclose(ours.transpose(2, 0, 1), Rotation.from_rotvec(vectors).as_matrix(), atol=5e-6)


@given(st.floats(0, 1e-3), st.integers(0, 2))
def test_small_rotations_are_exact(angle, axis):
    vectors = np.zeros((3, 1))
    vectors[axis] = angle
    expected = Rotation.from_rotvec(vectors[:, 0]).as_matrix()
    np.testing.assert_allclose(rotations(vectors.astype(np.float32))[..., 0], expected, atol=1e-7)
