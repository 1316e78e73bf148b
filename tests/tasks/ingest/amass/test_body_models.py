"""Body models are found by name, read by content, and refused with the fault."""

import pickle
import shlex
import subprocess
import sys

import numpy as np
import pytest

from data_contracts.errors import InputError
from data_contracts.motion.body_models import find_body_models
from data_contracts.sources import find_motion
from tasks.ingest.amass.body_models import load_models
from tests.tasks.ingest.amass.body_files import SMPLX_BONES, body_model, regressor_of, write_models


def test_models_are_found_by_gender_and_others_are_ignored(tmp_path):
    write_models(tmp_path)
    (tmp_path / "dmpls/male").mkdir(parents=True)
    np.savez(tmp_path / "dmpls/male/model.npz", eigvec=np.zeros(8))
    np.savez(tmp_path / "SMPL_MALE.npz", **body_model() | {"kintree_table": np.zeros((2, 24), np.int64)})
    np.savez(tmp_path / "notes.npz", text=np.array("no gender"))
    files = find_body_models(tmp_path)
    assert tmp_path / "notes.npz" not in files
    models = load_models(files)
    assert {key: model.joints_from for key, model in models.items()} == {
        (52, "female"): "J_regressor_h36m.npy",
        (52, "male"): "J_regressor_h36m.npy",
        (SMPLX_BONES, "neutral"): "skeleton",
    }


def test_two_models_of_one_kind_are_refused(tmp_path):
    write_models(tmp_path)
    np.savez(tmp_path / "smplh" / "male_2.npz", **body_model())
    with pytest.raises(InputError, match=r"are both SMPL-H male; remove one"):
        load_models(find_body_models(tmp_path))


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        (
            {"posedirs": np.zeros((8, 3, 207))},
            r"posedirs is float64 \(8, 3, 207\); expected .* \(432, 3, 459\)",
        ),
        ({"weights": np.full((432, 52), np.nan)}, "weights is float64"),
        ({"shapedirs": np.zeros(3)}, "shapedirs is float64"),
        ({"J_regressor": np.array({"sparse": 1}, dtype=object)}, "an object array"),
        ({"kintree_table": np.ones((2, 52), np.int64) * 60}, "lists a parent after its child"),
    ],
)
def test_a_bad_model_is_refused(tmp_path, changed, fault):
    np.savez(tmp_path / "male.npz", **body_model() | changed)
    with pytest.raises(InputError, match=rf"male\.npz.*{fault}"):
        load_models(find_body_models(tmp_path))


@pytest.mark.parametrize("array", [np.zeros((24, 432)), np.full((17, 432), np.nan), np.zeros(17), np.array({"a": 1})])
def test_a_bad_regressor_is_refused(tmp_path, array):
    np.savez(tmp_path / "male.npz", **body_model())
    np.save(tmp_path / "J_regressor_h36m.npy", array)
    with pytest.raises(InputError, match=r"J_regressor_h36m\.npy: .*expected finite floats \(17, vertices\)"):
        load_models(find_body_models(tmp_path))


def test_a_pickled_model_is_refused_and_the_command_in_the_message_converts_it(tmp_path):
    model = body_model()
    (tmp_path / "SMPLH_male.pkl").write_bytes(pickle.dumps(model, protocol=2))
    np.save(tmp_path / "J_regressor_h36m.npy", regressor_of(model))
    with pytest.raises(InputError, match=r"SMPLH_male\.pkl: a pickle can execute code.*python -c") as refused:
        find_body_models(tmp_path)
    _, *arguments = shlex.split(str(refused.value).partition("with: ")[2])
    subprocess.run([sys.executable, *arguments], check=True)
    (found,) = load_models(find_body_models(tmp_path)).values()
    assert found.joints_from == "J_regressor_h36m.npy"


def test_sources_without_motion_or_models_are_refused(tmp_path):
    (tmp_path / "AMASS/CMU/01").mkdir(parents=True)
    models = write_models(tmp_path / "models")
    with pytest.raises(InputError, match=r"AMASS: no \.npz of AMASS \(DATASET/SUBJECT/FILE\.npz\)"):
        find_motion(tmp_path / "AMASS", body_model=models)
    (tmp_path / "AMASS/CMU/01/01_01_poses.npz").touch()
    (tmp_path / "AMASS/CMU/01/shape.npz").touch()
    found = find_motion(tmp_path / "AMASS", body_model=models)
    assert [path.name for path in found.files] == ["01_01_poses.npz"]
    assert found.skipped == {"shape.npz": 1, "_stagei.npz": 0}
    for folder, fault in ((tmp_path / "none", "no such folder"), (tmp_path / "AMASS", "no body model in this folder")):
        with pytest.raises(InputError, match=fault):
            find_motion(tmp_path / "AMASS", body_model=folder)
    with pytest.raises(InputError, match="either --clip-list or --body-model"):
        find_motion(tmp_path / "AMASS", tmp_path / "list.csv", models)
