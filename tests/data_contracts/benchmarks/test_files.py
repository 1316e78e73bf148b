"""Files of a benchmark are found in each layout, and another layout is refused with the expected one."""

import re

import pytest

from data_contracts.benchmarks.files import find_benchmark
from data_contracts.benchmarks.protocols import PROTOCOLS, Benchmark
from data_contracts.errors import InputError


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize("below", ["sequenceFiles/test", "test", "."])
def test_the_test_split_of_3dpw_is_found(below, tmp_path):
    make(tmp_path, f"{below}/b.pkl", f"{below}/a.pkl", "sequenceFiles/train/c.pkl", f"{below}/.hidden.pkl")
    found = find_benchmark(Benchmark.THREE_DPW, tmp_path)
    assert [file.name for file in found.files] == ["a.pkl", "b.pkl"]


@pytest.mark.parametrize("path", ["sequenceFiles/train", "sequenceFiles/validation", "sequenceFiles/test/a.pkl"])
def test_another_split_or_one_sequence_of_3dpw_is_refused(path, tmp_path):
    make(tmp_path, *(f"sequenceFiles/{split}/a.pkl" for split in ("train", "validation", "test")))
    with pytest.raises(InputError, match="not a single file, and not another split"):
        find_benchmark(Benchmark.THREE_DPW, tmp_path / path)


def test_sequences_of_3dhp_or_the_packed_file_are_found(tmp_path):
    make(tmp_path / "raw", *(f"TS{number}/annot_data.mat" for number in (2, 1, 7)))
    packed = make(tmp_path / "packed", "data_test_3dhp.npz") / "data_test_3dhp.npz"
    raw = find_benchmark(Benchmark.MPI_INF_3DHP, tmp_path / "raw")
    assert [str(file.relative_to(raw.folder)) for file in raw.files] == ["TS1/annot_data.mat", "TS2/annot_data.mat"]
    for path in (packed, packed.parent):
        assert find_benchmark(Benchmark.MPI_INF_3DHP, path).files == (packed,)


def test_keypoints_of_h36m_are_named_if_there_are_several(tmp_path):
    folder = make(tmp_path, "data_3d_h36m.npz", "data_2d_h36m_gt.npz", "data_2d_h36m_cpn_ft_h36m_dbb.npz")
    with pytest.raises(InputError, match=r"several files .*cpn_ft_h36m_dbb.npz, data_2d_h36m_gt.npz.*pass one"):
        find_benchmark(Benchmark.H36M, folder)
    gt, truth = folder / "data_2d_h36m_gt.npz", folder / "data_3d_h36m.npz"
    assert find_benchmark(Benchmark.H36M, gt).files == (gt, truth)
    (folder / "data_2d_h36m_cpn_ft_h36m_dbb.npz").unlink()
    assert find_benchmark(Benchmark.H36M, folder).files == (gt, truth)
    truth.unlink()
    for path in (folder, gt):
        with pytest.raises(InputError, match=r"data_3d_h36m\.npz and one data_2d_h36m_\*\.npz"):
            find_benchmark(Benchmark.H36M, path)


@pytest.mark.parametrize("benchmark", Benchmark)
def test_a_folder_with_other_files_is_refused_with_the_layout_and_the_page(benchmark, tmp_path):
    make(tmp_path, "a.txt", "deep/down/a.pkl")
    with pytest.raises(InputError, match=re.escape(PROTOCOLS[benchmark].page)):
        find_benchmark(benchmark, tmp_path)
    with pytest.raises(InputError, match="no such file or folder"):
        find_benchmark(benchmark, tmp_path / "absent")
