"""The shapes of all arrays of a file decide the order of its axes."""

from pathlib import Path

import numpy as np
import pytest

from data_contracts.errors import InputError
from data_contracts.parameters import Layout
from tasks.ingest.layouts import decide_layout, to_frames_first

SOURCE = Path("file.pkl")
JOINTS, FRAMES, SQUARE = (17, 90, 3), (90, 17, 3), (17, 17, 3)


@pytest.mark.parametrize(
    ("shapes", "layout"),
    [
        ([JOINTS], Layout.JOINTS_FIRST),
        ([FRAMES], Layout.FRAMES_FIRST),
        ([(90, 32, 3)], Layout.FRAMES_FIRST),
        ([JOINTS, SQUARE, SQUARE, SQUARE], Layout.JOINTS_FIRST),
        ([FRAMES, (17, 32, 3), (0,), (5,)], Layout.FRAMES_FIRST),
        ([JOINTS] * 19 + [FRAMES], Layout.JOINTS_FIRST),
        ([JOINTS] + [FRAMES] * 19, Layout.FRAMES_FIRST),
        ([(17, 0, 3), (18, 90, 3)], Layout.JOINTS_FIRST),
        ([(90, 22, 3)], Layout.FRAMES_FIRST),
        ([(28, 60, 3)], Layout.JOINTS_FIRST),
        ([(17, 24, 3)], Layout.JOINTS_FIRST),
    ],
)
def test_the_shapes_of_all_arrays_determine_the_layout(shapes, layout):
    assert decide_layout(SOURCE, shapes, Layout.AUTO) is layout
    assert decide_layout(SOURCE, shapes, layout) is layout


@pytest.mark.parametrize(
    ("shapes", "counts"),
    [
        (
            [SQUARE] * 2,
            "0 of 2 arrays have a known number of joints on the first axis only, 0 .*, 2 on both",
        ),
        ([JOINTS] * 18 + [FRAMES], "18 of 19 .* 1 on the second only, 0 on both"),
    ],
)
def test_ambiguous_shapes_are_refused_unless_the_layout_is_declared(shapes, counts):
    with pytest.raises(
        InputError,
        match=f"file.pkl: .*do not determine the order of the axes: {counts}.*--set ingest.layout=joints_first or",
    ):
        decide_layout(SOURCE, shapes, Layout.AUTO)
    for declared in (Layout.JOINTS_FIRST, Layout.FRAMES_FIRST):
        assert decide_layout(SOURCE, shapes, declared) is declared


@pytest.mark.parametrize("layout", list(Layout))
@pytest.mark.parametrize(
    ("shape", "reason"),
    [((90, 52, 3), "52 joints, as SMPL-H"), ((31, 60, 3), "31 joints, as CMU"), ((60, 33, 3), "MediaPipe")],
)
def test_other_numbers_of_joints_are_named(shape, reason, layout):
    with pytest.raises(InputError, match=f"{reason}.*; only the 17 or 32 joints of Human3.6M, 22 or 24 of SMPL"):
        decide_layout(SOURCE, [shape], layout)


def test_a_declared_layout_that_the_shapes_contradict_is_refused():
    with pytest.raises(
        InputError, match=r"ingest.layout=frames_first, but 3 of 4 .*pass --set ingest.layout=joints_first"
    ):
        decide_layout(SOURCE, [JOINTS] * 3 + [SQUARE], Layout.FRAMES_FIRST)


def test_square_clips_are_transposed_as_the_whole_file(walking):
    square = walking[:17]
    np.testing.assert_array_equal(to_frames_first(square.transpose(1, 0, 2), Layout.JOINTS_FIRST), square)
    np.testing.assert_array_equal(to_frames_first(square, Layout.FRAMES_FIRST), square)
