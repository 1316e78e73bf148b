"""C3D: ezc3d and the independent package c3d read the joints of the motion."""

import warnings

import c3d
import ezc3d
import numpy as np
import pytest

from data_contracts.errors import InputError
from data_contracts.skeleton import JOINTS
from tasks.lifting.exports.c3d_file import write_c3d
from tests.tasks.lifting.exports.motions import motion_of


@pytest.fixture
def file(lifted, tmp_path):
    path = tmp_path / "motion.c3d"
    write_c3d(lifted, path)
    return path


def test_the_package_c3d_reads_the_joints(file, lifted):
    with warnings.catch_warnings(), file.open("rb") as opened:
        warnings.filterwarnings("ignore", "No analog data", UserWarning)
        reader = c3d.Reader(opened)
        frames = list(reader.read_frames())
    assert [label.strip() for label in reader.point_labels] == list(JOINTS)
    assert (reader.point_rate, reader.first_frame, reader.last_frame) == (60, 1, lifted.frames)
    assert reader.get("POINT:UNITS").string_value == "mm"
    assert reader.get("POINT:X_SCREEN").string_value == "+X"
    assert reader.get("POINT:Y_SCREEN").string_value == "+Z"
    assert reader.get("SUBJECTS:NAMES").string_value == "person-0"
    points = np.stack([points for _, points, _ in frames])
    np.testing.assert_allclose(points[..., :3], 1000 * lifted.joints, atol=1e-2)


def test_unseen_joint_is_a_valid_point(file, lifted):
    assert (lifted.confidence[:, JOINTS.index("head")] == 0).all()
    read = ezc3d.c3d(str(file))
    assert (read["data"]["meta_points"]["residuals"] == 0).all()
    np.testing.assert_allclose(read["data"]["points"][:3].transpose(2, 1, 0), 1000 * lifted.joints, atol=1e-2)


def test_more_frames_than_c3d_can_count_are_refused(walking, tmp_path):
    motion = motion_of(np.resize(walking, (65_536, 17, 3)))
    with pytest.raises(InputError, match="has 65536 frames, C3D allows at most 65535"):
        write_c3d(motion, tmp_path / "motion.c3d")
    assert not list(tmp_path.iterdir())
