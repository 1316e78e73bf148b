"""Image sizes that are not in a file."""

from pathlib import Path

import numpy as np
import pytest

from model.lifting.cameras import COMMON_SIZES, camera_of

CASES = Path(__file__).parents[2] / "data" / "cases" / "assumed_size_half_too_far"


def size_of(points):
    camera = camera_of(points, None, None, 60.0, None)
    assert camera.size_from == "assumed"
    return camera.width, camera.height


@pytest.mark.parametrize(("name", "size"), [("qhd_2560x1440", (2560, 1440)), ("fwvga_854x480", (854, 480))])
def test_sizes_of_cases(name, size):
    points = np.load(CASES / f"{name}.npz")["keypoints"][..., :2].reshape(-1, 2)
    assert size_of(points) == size


@pytest.mark.parametrize("size", [*COMMON_SIZES, *(size[::-1] for size in COMMON_SIZES)])
def test_a_person_who_crosses_the_middle_of_the_image_determines_its_size(size):
    width, height = size
    points = np.array([(0.02 * width, 0.02 * height), (0.98 * width, 0.98 * height)])
    assert size_of(points) == size


def test_keypoints_beyond_all_common_sizes_determine_the_size():
    assert size_of(np.array([(10.0, 20.0), (9000.5, 300.0)])) == (9001, 300)
