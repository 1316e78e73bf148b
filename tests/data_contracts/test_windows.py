import numpy as np
import pandas as pd
import pyarrow.parquet as parquet
import pytest

from data_contracts.bounds import describe_fault
from data_contracts.parameters import ConvertParameters
from data_contracts.windows import SCALARS, WindowSummary, find_faults, to_arrow, to_numpy
from tasks.convert.cameras import draw_camera
from tests.projection import ANGLES, project_windows


@pytest.fixture
def table(walking):
    camera = draw_camera(walking, 0, 0, ConvertParameters(max_pitch_deg=10))
    arrays = project_windows(walking, np.arange(0, 50, 10), 9, camera)
    scalars = pd.DataFrame(
        {
            "window_id": [f"0-0-{i}" for i in range(5)], "clip_id": 0, "group": "g", "action": "a", "split": "val",
            "camera": 0, "projection": "perspective", "start": range(5), "fps": 60.0,
            **{name: arrays.pop(name) for name in ("scale", *ANGLES)},
        }
    )  # fmt: skip
    return scalars, arrays


def test_arrays_pass_through_parquet_to_the_bit(table, tmp_path):
    scalars, arrays = table
    assert find_faults(scalars, arrays).empty
    parquet.write_table(to_arrow(scalars, arrays), tmp_path / "w.parquet", compression="none", row_group_size=2)
    back = parquet.read_table(tmp_path / "w.parquet")
    assert back.column_names == [*SCALARS, "pose_2d", "pose_3d", "root_3d"]
    assert back.schema.metadata[b"pose_2d.shape"] == b"(9, 17, 3)"
    for name, array in arrays.items():
        np.testing.assert_array_equal(to_numpy(back, name), array)
        np.testing.assert_array_equal(to_numpy(back.slice(1, 3), name), array[1:4])


@pytest.mark.parametrize(
    ("name", "index", "value", "check"),
    [
        ("pose_2d", (2, 0, 0, 0), 1.5, "pose_2d_max"),
        ("pose_2d", (2, 0, 0, 2), -0.1, "confidence_min"),
        ("pose_3d", (2, 3, 0, 1), 0.01, "root_max"),
        ("pose_3d", (2, 3, 3, 1), 4.0, "bone_max"),
        ("root_3d", (2, 3, 1), np.inf, "non_finite"),
    ],
)
def test_each_fault_is_caught_and_its_window_named(table, name, index, value, check):
    scalars, arrays = table
    arrays[name][index] = value
    faults = find_faults(scalars, arrays)
    assert set(faults["check"]) == {check}
    assert set(faults["window_id"]) == {"0-0-2"}


@pytest.mark.parametrize(("name", "value"), [("yaw_deg", -1.0), ("yaw_deg", 361.0), ("pitch_deg", 90.0), ("fps", 0.0)])
def test_a_scalar_beyond_either_of_its_bounds_is_caught(table, name, value):
    scalars, arrays = table
    scalars.loc[3, name] = value
    assert find_faults(scalars, arrays)["check"].tolist() == [name]


def test_a_fault_is_described_with_its_unit_and_allowed_value(table):
    scalars, arrays = table
    arrays["pose_3d"][2, 3, 3, 1] = 4.0
    (fault,) = find_faults(scalars, arrays).itertuples()
    text = describe_fault(WindowSummary, fault)
    assert text.startswith("bone_max (Longest bone, metres) is ")
    assert text.endswith(", expected at most 1.1")


def test_a_projection_that_no_camera_has_is_caught(table):
    scalars, arrays = table
    scalars.loc[3, "projection"] = "fisheye"
    assert find_faults(scalars, arrays)["check"].tolist() == ["projection"]
