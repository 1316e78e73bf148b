"""Body models of the user's licence: their joints agree with smplx, and those of a regressor with the skeleton's.

    BODY_MODELS=DIR .venv/bin/pytest tests/tasks/ingest/amass/test_real_body_models.py

DIR is a folder as for `uplift ingest --body-model`.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from data_contracts.motion.body_models import find_body_models
from data_contracts.skeleton import ADULT_BONES_M, BONES
from tasks.ingest.amass.body_models import load_models
from tasks.ingest.reading import read_members
from tests.tasks.ingest.amass.test_posing import by_smplx, motion

FOLDER = os.environ.get("BODY_MODELS", "")
KEYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table")
OWN_BONES = ((2, 5), (3, 8), (5, 4), (6, 7), (12, 18), (13, 20), (15, 19), (16, 21))  # knees, ankles, elbows, wrists

pytestmark = pytest.mark.skipif(not FOLDER, reason="no licensed body models: BODY_MODELS is not set to their folder")


def test_the_joints_of_each_model_agree_with_smplx_and_are_those_of_an_adult():
    files = find_body_models(Path(FOLDER))
    for file in (file for file in files if file.suffix == ".npz"):
        model = read_members(file, KEYS, 2**30)
        betas, poses, trans = motion(model)
        (of_skeleton,) = load_models((file,)).values()
        _, bones = by_smplx(model, betas, poses, trans)
        joints = of_skeleton.joints(betas).pose(poses, trans)
        for joint, bone in OWN_BONES:
            np.testing.assert_allclose(joints[:, joint], bones[:, bone], atol=1e-4, err_msg=str(file))
        mean_body = of_skeleton.joints(0 * betas).pose(0 * poses, trans)[0]
        lengths = [np.linalg.norm(mean_body[child] - mean_body[parent]) for parent, child in BONES]
        np.testing.assert_allclose(lengths, ADULT_BONES_M, rtol=0.35, err_msg=str(file))


def test_the_joints_of_a_regressor_are_near_those_of_the_skeleton():
    files = find_body_models(Path(FOLDER))
    if not any(file.suffix == ".npy" for file in files):
        pytest.skip(f"{FOLDER} has no J_regressor_h36m.npy")
    skeletons = load_models(tuple(file for file in files if file.suffix == ".npz"))
    for key, model in load_models(files).items():
        bones, _ = key
        poses = np.zeros((1, 3 * bones))
        regressed, of_skeleton = (
            one.joints(np.zeros(10)).pose(poses, np.zeros((1, 3))) for one in (model, skeletons[key])
        )
        distance = np.linalg.norm(regressed - of_skeleton, axis=-1).mean()
        assert distance < 0.06, f"{key}: the joints are {1000 * distance:.0f} mm apart"
