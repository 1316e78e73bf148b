"""Exports: every format, for any length, and refused motions."""

import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from data_contracts.errors import InputError
from data_contracts.motion.motion import read_motion
from data_contracts.parameters import ExportFormat
from tasks.lifting.exports.writing import write_exports
from tests.tasks.lifting.exports.motions import motion_of

SECONDS = 2.0  # 0.4 on two idle cores


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_each_format_has_one_file_with_its_extension(lifted, tmp_path):
    paths = write_exports(lifted, list(ExportFormat), tmp_path / "new" / "folder")
    assert [path.name for path in paths] == [f"motion.{form.value}" for form in ExportFormat]
    assert files(tmp_path / "new" / "folder") == sorted(path.name for path in paths)
    assert all(path.stat().st_size > 100 for path in paths)


def test_npz_equals_the_motion(lifted, tmp_path):
    (path,) = write_exports(lifted, [ExportFormat.NPZ], tmp_path)
    read = read_motion(path)
    assert np.array_equal(read.pose_3d, lifted.pose_3d)
    assert read.first_frame == lifted.first_frame


def test_a_motion_of_one_frame_is_written(walking, tmp_path):
    assert len(write_exports(motion_of(walking[:1]), list(ExportFormat), tmp_path)) == len(ExportFormat)


def test_a_format_named_twice_is_written_once(lifted, tmp_path):
    paths = write_exports(lifted, [ExportFormat.CSV, ExportFormat.CSV], tmp_path)
    assert [path.name for path in paths] == ["motion.csv"]


def test_missing_package_is_reported_before_writing(lifted, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ezc3d", None)
    monkeypatch.delitem(sys.modules, "tasks.lifting.exports.c3d_file", raising=False)
    with pytest.raises(InputError, match=r"C3D needs ezc3d: pip install 'pose-uplift\[exports\]'"):
        write_exports(lifted, [ExportFormat.CSV, ExportFormat.C3D], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_motion_that_breaks_its_contract_is_refused(lifted, tmp_path):
    root = lifted.root.copy()
    root[3, 0] = np.nan
    with pytest.raises(InputError, match=r"person-0: cannot be exported: non_finite .* is 1"):
        write_exports(replace(lifted, root=root), [ExportFormat.BVH], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_thousand_frames_take_seconds(walking, tmp_path):
    motion = motion_of(np.resize(walking, (1000, 17, 3)))
    formats = [form for form in ExportFormat if form is not ExportFormat.GIF]
    write_exports(motion_of(walking[:1]), formats, tmp_path)  # imports
    begun = time.process_time()
    write_exports(motion, formats, tmp_path)
    assert time.process_time() - begun < SECONDS
