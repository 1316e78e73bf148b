"""Names of AMASS clips, as its archives, SMPL-X re-releases and MotionBERT's clip list spell them."""

import re

import pytest

from data_contracts.errors import InputError
from data_contracts.splits import DATASETS, OFFICIAL_SPLIT, dataset_of, subject_of

NAMES = [
    ("ACCAD_Female1General_c3d_A1 - Stand_poses.npz", "ACCAD", "ACCAD_Female1General"),
    ("cmu_01_01", "CMU", "CMU_01"),
    ("CMU_01_01_poses.npz", "CMU", "CMU_01"),
    ("BioMotionLab_NTroje_rub001_0000_treadmill_norm_poses.npz", "BMLrub", "BMLrub_rub001"),
    ("BMLrub_rub001_0000_treadmill_norm_poses", "BMLrub", "BMLrub_rub001"),
    ("BMLhandball_S01_Expert_Trial_upper_left_001_poses.npz", "BMLhandball", "BMLhandball_S01"),
    ("BMLmovi_Subject_11_F_MoSh_Subject_11_F_1_poses", "BMLmovi", "BMLmovi_Subject"),
    ("MPI_HDM05_bk_HDM_bk_01-01_01_120_poses.npz", "HDM05", "HDM05_bk"),
    ("MPIHDM05_bk_HDM_bk_01-01_01_120_poses.npz", "HDM05", "HDM05_bk"),
    ("HDM05_dg_HDM_dg_01-01_01_120_poses", "HDM05", "HDM05_dg"),
    ("MPI_Limits_03099_op8_poses.npz", "PosePrior", "PosePrior_03099"),
    ("MPILimits_03100_lar2_poses.npz", "PosePrior", "PosePrior_03100"),
    ("MPI_mosh_00008_misc_poses.npz", "MoSh", "MoSh_00008"),
    ("Eyes_Japan_Dataset_aita_accident-02-dodge fast-aita_poses.npz", "EyesJapanDataset", "EyesJapanDataset_aita"),
    ("Eyesjapandataset_aita_walk_poses.npz", "EyesJapanDataset", "EyesJapanDataset_aita"),
    ("Transitions_mocap_mazen_c3d_airkick_jumpinplace_poses.npz", "Transitions", "Transitions_mazen"),
    ("Transitionsmocap_mazen_c3d_airkick_jumpinplace_poses.npz", "Transitions", "Transitions_mazen"),
    ("TCD_handMocap_ExperimentDatabase_acquire_poses.npz", "TCDHands", "TCDHands_ExperimentDatabase"),
    ("TCDhandMocap_ExperimentDatabase_acquire_poses.npz", "TCDHands", "TCDHands_ExperimentDatabase"),
    ("SSM_synced_20160330_03333_chicken_wings_poses.npz", "SSM", "SSM_20160330"),
    ("DFaust_67_50002_50002_chicken_wings_poses.npz", "DFaust", "DFaust_50002"),
    ("TotalCapture_s1_acting1_poses.npz", "TotalCapture", "TotalCapture_s1"),
    ("HumanEva_S1_Box_1_poses.npz", "HumanEva", "HumanEva_S1"),
    ("KIT_3_912_3_01_poses.npz", "KIT", "KIT_3"),
    ("amass_202203_ACCAD_Female1Walking_c3d_B1_poses", "ACCAD", "ACCAD_Female1Walking"),
    ("AMASS_amass_202203_ACCAD_Female1Walking_c3d_B1_poses", "ACCAD", "ACCAD_Female1Walking"),
    ("AMASS_amass_202203_MPI_HDM05_mm_HDM_mm_01-02_01_120_poses", "HDM05", "HDM05_mm"),
    ("CMU", "CMU", "CMU"),
    ("Kitchen_table_01", None, "Kitchen_table"),
    ("CMUx_01_01", None, "CMUx_01"),
    ("my_ACCAD_walk", None, "my_ACCAD"),
    ("walking", None, "walking"),
]


@pytest.mark.parametrize(("name", "dataset", "subject"), NAMES)
def test_data_set_and_subject_are_told_from_a_name(name, dataset, subject):
    assert dataset_of(name) == dataset
    assert subject_of(name) == subject


def test_every_data_set_is_found_by_its_own_name_in_any_case():
    for dataset in DATASETS:
        for spelling in (dataset, dataset.lower(), dataset.upper()):
            assert dataset_of(f"{spelling}_s1_walk_poses.npz") == dataset


def test_the_official_split_holds_out_six_data_sets():
    assert OFFICIAL_SPLIT.keys() <= set(DATASETS)
    assert {dataset for dataset, split in OFFICIAL_SPLIT.items() if split == "test"} == {"Transitions", "SSM"}
    assert {dataset for dataset, split in OFFICIAL_SPLIT.items() if split == "val"} == {
        "HumanEva", "HDM05", "SFU", "MoSh",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "subject"), [(r"p(\d+)", "07"), (r"p\d+", "p07"), (r"(x)?take", "take"), (r"^studio_(.+?)_", "p07")]
)
def test_a_pattern_overrides_the_rule(pattern, subject):
    assert subject_of("studio_p07_take3", re.compile(pattern)) == subject


def test_a_name_without_the_pattern_is_refused_by_both():
    with pytest.raises(InputError, match=r"clip walk_7: ingest\.group_pattern 'p\\\\d\+'"):
        subject_of("walk_7", re.compile(r"p\d+"))
