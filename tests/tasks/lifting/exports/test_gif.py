"""GIF: bounded number of frames, speed of the motion, and a person on both sides."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tasks.lifting.exports.gif_file import MOST_FRAMES, SHORTEST, write_gif
from tests.tasks.lifting.exports.motions import motion_of

RED, BLUE = (214, 39, 40), (31, 119, 180)  # matplotlib's tab:red and tab:blue


def frames_of(path):
    """Return the images (frames, height, width, 3) and the duration of each, ms."""
    images, durations = [], []
    with Image.open(path) as gif:
        for index in range(gif.n_frames):
            gif.seek(index)
            durations.append(gif.info["duration"])
            images.append(np.asarray(gif.convert("RGB")))
    return np.stack(images), durations


def near(image, color):
    return np.abs(image.astype(int) - color).max(axis=-1) < 40


def test_duration_equals_the_duration_of_the_motion(walking, tmp_path):
    write_gif([motion_of(walking)], tmp_path / "motion.gif")
    images, durations = frames_of(tmp_path / "motion.gif")
    assert set(durations) == {10 * SHORTEST}
    assert sum(durations) / 1000 == pytest.approx(len(walking) / 60, abs=0.1)
    assert images.shape[1:] == (320, 640, 3)


def test_long_motion_has_fewer_frames_per_second(walking, tmp_path):
    write_gif([motion_of(np.resize(walking, (3000, 17, 3)))], tmp_path / "motion.gif")  # 50 s
    images, durations = frames_of(tmp_path / "motion.gif")
    assert MOST_FRAMES * 0.9 < len(images) <= MOST_FRAMES
    assert sum(durations) / 1000 == pytest.approx(50, abs=0.5)


def test_left_and_right_limbs_are_drawn_on_both_sides_and_move(walking, tmp_path):
    write_gif([motion_of(walking)], tmp_path / "motion.gif")
    images, _ = frames_of(tmp_path / "motion.gif")
    for half in (images[:, :, :320], images[:, :, 320:]):
        for color in (RED, BLUE):
            drawn = near(half, color)
            assert drawn.any(axis=(1, 2)).all()
            assert (drawn[0] != drawn[len(drawn) // 2]).any()


def test_person_appears_when_its_track_begins(walking, tmp_path):
    late = replace(motion_of(walking[:60] + np.array([1.5, 0, 0])), first_frame=12 + 60)
    write_gif([motion_of(walking[:120]), late], tmp_path / "motion.gif")
    images, _ = frames_of(tmp_path / "motion.gif")
    drawn = near(images, RED).sum(axis=(1, 2))
    assert drawn[-1] > 1.4 * drawn[0] > 0


def test_single_frame_without_keypoints_is_drawn(walking, tmp_path):
    motion = motion_of(walking[:1])
    write_gif([replace(motion, pose_2d=np.full_like(motion.pose_2d, np.nan))], tmp_path / "motion.gif")
    images, _ = frames_of(tmp_path / "motion.gif")
    assert len(images) == 1
    assert near(images[0, :, 320:], RED).any()
