"""Motion files of other kinds are refused with what they are and what to do."""

from pathlib import Path

import numpy as np
import pytest

from data_contracts.errors import InputError
from data_contracts.parameters import IngestParameters
from data_contracts.sources import find_motion_files
from tasks.ingest.plan import plan_reading

CASES = Path(__file__).parents[2] / "data" / "cases" / "ingest_misleading_refusals"


def refusal(path, **parameters):
    with pytest.raises(InputError) as error:
        plan_reading(find_motion_files(path), IngestParameters(**parameters))
    return str(error.value)


def test_a_bvh_without_a_body_is_refused_with_the_joints_that_it_lacks():
    text = refusal(CASES / "walk.bvh")
    assert "walk.bvh: no joint found for left_hip, left_knee" in text
    assert "the file has the names Hips" in text


def test_17_joints_in_another_order_are_refused(walking, tmp_path):
    np.save(tmp_path / "a.npy", np.roll(walking, 3, axis=1))
    assert "limbs and trunk do not fit the order of joints of Human3.6M; reorder the joints" in refusal(
        tmp_path / "a.npy"
    )


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((60, 17, 2), "which has 2D keypoints; pass it to `uplift lift`"),
        ((60, 263), "which has features of HumanML3D; pass the folder new_joints of HumanML3D instead"),
        ((3, 60, 21, 3), "21 joints, as a hand"),
    ],
)
def test_other_arrays_are_named(shape, reason, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(shape))
    assert reason in refusal(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"Kaydara FBX", "an FBX"),
        (b"\0\0\0\x20ftypisom", "a video"),
        (b'{"a": 1}', "a JSON file"),
        (b"frame,x,y\n1,2,3", "a text file"),
        (b"", "an empty file"),
    ],
)
def test_other_files_are_named(start, kind, tmp_path):
    (tmp_path / "a").write_bytes(start)
    assert f"is {kind}" in refusal(tmp_path / "a")
