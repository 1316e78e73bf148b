"""Raw AMASS: body-model parameters become clips, and one bad file does not stop the others."""

import shutil

import numpy as np
import pandas as pd
import pytest

from data_contracts.errors import InputError
from data_contracts.parameters import ConvertParameters, IngestParameters, SplitBy
from data_contracts.store.manifests import read_manifest
from tasks.ingest.amass import posed_files
from tests.flows.test_ingest import read_clips
from tests.flows.typed import convert, ingest
from tests.tasks.ingest.amass.body_files import smplh_motion, smplx_motion, write_models


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def files(tmp_path):
    """Write five motion files of AMASS, one of which is corrupt, and files without motion."""
    root = tmp_path / "AMASS"
    motions = {
        "CMU/01/01_01_poses.npz": smplh_motion(seed=1),
        "HumanEva/S1/Walking_1_poses.npz": smplh_motion(seed=2, fps=100.0, gender=np.array("female")),
        "SSM_synced/20160330_03333/chicken_wings_stageii.npz": smplx_motion(seed=3),
        "ACCAD/Female1General_c3d/A1_-_Stand_stageii.npz": smplx_motion(seed=4, fps=120.0),
        "ACCAD/Female1General_c3d/neutral_stagei.npz": {"betas": np.zeros(16)},
        "CMU/01/shape.npz": {"betas": np.zeros(16)},
        "CMU/01/hands.npz": {"fingers": np.zeros(16)},
    }
    for name, arrays in motions.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(root / name, **arrays)
    (root / "KIT/3").mkdir(parents=True)
    whole = (root / "CMU/01/01_01_poses.npz").read_bytes()
    (root / "KIT/3/912_3_01_poses.npz").write_bytes(whole[: len(whole) // 2])
    return root


def parameters(models, **changed):
    return IngestParameters(body_model=str(models), max_quarantined=0.25, **changed)


def test_five_files_become_four_clips_and_windows_of_the_official_split(files, models, empty_store):
    result = ingest(str(files), parameters=parameters(models), store=str(empty_store))
    assert result.counts == {"clips": 4, "frames": 2 * (120 + 100 + 100 + 120), "quarantined": 1}
    clips = {clip.name: clip for clip in read_clips(result.folder)}
    rates = {name: clip.fps for name, clip in clips.items()}
    assert rates == {
        "ACCAD_Female1General_c3d_A1_-_Stand_stageii": 120.0,
        "CMU_01_01_01_poses": 120.0,
        "HumanEva_S1_Walking_1_poses": 100.0,
        "SSM_synced_20160330_03333_chicken_wings_stageii": 100.0,
    }
    (row,) = pd.read_csv(result.path / "quarantine.csv").to_dict("records")
    assert (row["name"], row["check"]) == ("KIT_3_912_3_01_poses", "file")
    assert "912_3_01_poses.npz: refused" in row["value"]
    assert result.statistics["datasets"] == {
        "ACCAD_Female1General_c3d": "ACCAD", "CMU_01": "CMU", "HumanEva_S1": "HumanEva", "SSM_20160330_03333": "SSM",
    }  # fmt: skip
    assert result.statistics["skipped"] == {"shape.npz": 1, "_stagei.npz": 1, "without poses": 1}
    assert result.statistics["joints_from"] == {
        "SMPL-H female": "J_regressor_h36m.npy", "SMPL-H male": "J_regressor_h36m.npy", "SMPL-X neutral": "skeleton",
    }  # fmt: skip
    assert result.statistics["licence"] == posed_files.LICENCE
    assert read_manifest(result.path)["files"].keys() == {"clips.parquet", "quarantine.csv"}
    split = ConvertParameters(split_by=SplitBy.AMASS, fps=60, window=27, views=1)
    windows = convert(result.folder, split, store=str(empty_store))
    assert windows.statistics["groups"] == {
        "train": ["ACCAD_Female1General_c3d", "CMU_01"], "val": ["HumanEva_S1"], "test": ["SSM_20160330_03333"],
    }  # fmt: skip
    assert windows.counts["frames"] == 4 * 120  # two seconds at 60 frames/s each


def test_the_digest_has_the_body_model_and_the_names_of_the_folders(files, models, empty_store, tmp_path):
    store, options = str(empty_store), parameters(models)
    first = ingest(str(files), parameters=options, store=store)
    assert ingest(str(shutil.copytree(files, tmp_path / "other")), parameters=options, store=store).cached
    copied = shutil.copytree(models, tmp_path / "models")
    assert ingest(str(files), parameters=parameters(copied), store=store).cached
    np.save(copied / "J_regressor_h36m.npy", np.load(copied / "J_regressor_h36m.npy") * 1.0001)
    assert ingest(str(files), parameters=parameters(copied), store=store).digest != first.digest
    (files / "CMU/01").rename(files / "CMU/02")
    renamed = ingest(str(files), parameters=options, store=store)
    assert "CMU_02" in renamed.statistics["groups"]


def test_a_killed_ingest_continues(files, models, empty_store, monkeypatch):
    monkeypatch.setattr(posed_files, "_BATCH_BYTES", 1)  # a batch per file
    whole, posed = posed_files.pose_batch, []

    def dying(*arguments):
        posed.append(arguments[-1])
        if len(posed) == 3:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(posed_files, "pose_batch", dying)
    with pytest.raises(BaseException):  # noqa: B017, PT011 - Prefect wraps it
        ingest(str(files), parameters=parameters(models), store=str(empty_store))
    assert len(list(empty_store.glob("clips/.*.partial/posed/part-*.parquet"))) == 2
    result = ingest(str(files), parameters=parameters(models), store=str(empty_store))
    assert len(posed) == 3 + 4  # six files have batches, and two were finished
    assert result.counts["clips"] == 4
    assert read_manifest(result.path)["code"]["resumed"]


def test_too_many_bad_files_fail_the_stage_and_leave_nothing(files, models, empty_store):
    options = IngestParameters(body_model=str(models))
    with pytest.raises(InputError, match=r"1 of 5 clips break .* file in 1 \(clip KIT_3_912.*refused"):
        ingest(str(files), parameters=options, store=str(empty_store))
    assert not [path for path in (empty_store / "clips").iterdir() if path.is_dir()]


def test_bodies_along_another_axis_are_refused(files, models, empty_store):
    for path in files.glob("*/*/*_poses.npz"):
        path.unlink()
    for seed, path in enumerate(files.glob("*/*/*_stageii.npz")):
        motion = smplx_motion(seed=seed)
        np.savez(path, **motion | {"root_orient": np.zeros_like(motion["root_orient"])})
    with pytest.raises(InputError, match=r"AMASS: bodies are upright along y.*--set ingest\.up=y"):
        ingest(str(files), parameters=parameters(models), store=str(empty_store))


def test_amass_without_a_body_model_is_refused_with_the_option_to_pass(files, empty_store):
    for source in (files, files / "CMU/01/01_01_poses.npz", files / "SSM_synced"):
        with pytest.raises(InputError, match="--body-model DIR"):
            ingest(str(source), store=str(empty_store))
