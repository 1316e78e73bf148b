"""The keypoints contract: tracks are read back unchanged, and faults are named."""

import numpy as np
import pytest

from data_contracts.tracks.table import find_faults, from_arrow, to_arrow
from data_contracts.tracks.track import Track


def tracks():
    """Return two tracks of 5 and 3 frames; the second has a missing and an interpolated joint."""
    poses = np.random.default_rng(0).uniform(0.1, 1, (8, 17, 3)).astype(np.float32) * np.float32([900, 900, 1])
    marked = np.zeros((8, 17), bool)
    poses[6, 4], marked[6, 5] = 0, True
    return [
        Track("a", 3, 7, poses[:5], marked[:5], fps=25.0, width=640, height=480),
        Track("", -1, 0, poses[5:], marked[5:]),
    ]


def test_tracks_are_read_back_unchanged():
    table = to_arrow(tracks())
    assert find_faults(table).empty
    for given, found in zip(tracks(), from_arrow(table), strict=True):
        np.testing.assert_array_equal(found.pose_2d, given.pose_2d)
        np.testing.assert_array_equal(found.interpolated, given.interpolated)
        for name in ("video", "person", "first_frame", "fps", "width", "height"):
            assert getattr(found, name) == getattr(given, name)


@pytest.mark.parametrize(
    ("place", "value", "check"),
    [
        ((1, 6, 1), np.nan, "non_finite"),
        ((1, 6, 0), 1e6, "pixels_max"),
        ((1, 6, 2), -0.1, "confidence_min"),
        ((1, 6, 2), 1.5, "confidence_max"),
        ((1, 4, 0), 3.0, "put_in_place"),
    ],
)
def test_fault_names_its_track(place, value, check):
    given = tracks()
    given[1].pose_2d[place] = value
    faults = find_faults(to_arrow(given))
    assert check in set(faults["check"])
    assert set(faults["track"]) == {1}


def test_a_gap_breaks_the_contract():
    table = to_arrow(tracks())
    faults = find_faults(table.take([0, 1, 3, 4, 5, 6, 7]))
    assert faults[["track", "check"]].to_numpy().tolist() == [[0, "gaps"]]
