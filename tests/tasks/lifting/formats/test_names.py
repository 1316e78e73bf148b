"""The frame number is the part of the image names that counts up."""

import pytest

from data_contracts.errors import InputError
from tasks.lifting.formats.names import frame_numbers


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["a_1.jpg", "a_10.jpg", "a_2.jpg"], [1, 10, 2]),
        (["walk_0003_1920x1080.png", "walk_0005_1920x1080.png"], [3, 5]),
        (["2026-05-01 12-00-00.9.png", "2026-05-01 12-00-01.1.png", "2026-05-01 12-00-01.2.png"], [0, 1, 2]),
        (["12:00:00.133.png", "12:00:00.100.png", "12:00:00.167.png"], [1, 0, 2]),
        (["1714564800123.png", "1714564800156.png"], [0, 1]),
        (["0001_1714564800123.png", "0003_1714564800156.png"], [1, 3]),
        (["frame_000001_jpg.rf.3f2a99.jpg", "frame_000000_jpg.rf.77aa.jpg"], [1, 0]),
        (["3f2a1b4c-frame_12.jpg", "99aa1b4c-frame_13.jpg"], [12, 13]),
        (["d/000000.jpg", "d/000030.jpg", "d/000060.jpg"], [0, 30, 60]),
        (["x.jpg", "y.jpg"], [0, 1]),
        ([5, 3.0], [5, 3]),
    ],
)
def test_images_are_numbered(names, numbers):
    assert frame_numbers("f.json", names) == numbers


@pytest.mark.parametrize("names", [["cam1_01.png", "cam1_02.png", "cam2_01.png"], ["0.jpg", "other_0.jpg"]])
def test_images_of_two_videos_are_refused(names):
    with pytest.raises(InputError, match=r"f\.json: image_id: .* have the same frame number"):
        frame_numbers("f.json", names)
