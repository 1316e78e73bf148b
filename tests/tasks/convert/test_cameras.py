"""Virtual cameras: axes, projection, normalisation and division into windows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_contracts.parameters import ConvertParameters, Projection
from data_contracts.skeleton import PELVIS
from tasks.convert.cameras import Camera, angles_deg, draw_camera, rotation_matrix, window_starts
from tests.projection import ANGLES, project_windows

projections = pytest.mark.parametrize("projection", list(Projection))
angles = st.floats(-3.1, 3.1)


@given(angles, st.floats(-1.5, 1.5), st.floats(-1.5, 1.5))
def test_a_camera_is_a_right_handed_rotation_and_upright_without_roll(yaw, pitch, roll):
    rotation = rotation_matrix(yaw, pitch, roll)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    assert rotation[1, 2] < 0  # the y axis points down
    assert rotation_matrix(yaw, pitch)[0, 2] == 0  # the x axis is horizontal


@given(st.floats(0, 359.9), st.floats(-89, 89), st.floats(-60, 60))
def test_the_angles_of_axes_are_those_they_were_made_of(yaw, pitch, roll):
    found = angles_deg(rotation_matrix(*np.deg2rad([yaw, pitch, roll]))[None])
    assert found["pitch_deg"] == pytest.approx(pitch, abs=1e-6)
    assert found["roll_deg"] == pytest.approx(roll, abs=1e-6)
    assert np.cos(np.deg2rad(found["yaw_deg"] - yaw)) == pytest.approx(1)
    assert 0 <= found["yaw_deg"] <= 360


@projections
def test_windows_agree_with_a_loop_over_frames(walking, projection):
    camera = draw_camera(walking, 3, 1, ConvertParameters(seed=7, max_pitch_deg=15, projection=projection))
    starts, window = window_starts(len(walking), 27, 20, pad=True), 27
    windows = project_windows(walking, starts, window, camera)
    for w, start in enumerate(starts):
        axes, points, images, roots = axes_of(windows, w), [], [], []
        for t in range(start, start + window):
            frame = [axes @ (joint.astype(np.float64) - camera.position) for joint in walking[t]]
            roots.append(frame[PELVIS])
            points.append([joint - frame[PELVIS] for joint in frame])
            images.append([j[:2] if projection is Projection.ORTHOGRAPHIC else j[:2] / j[2] for j in frame])
        images = np.array(images)
        low, high = images.min(axis=(0, 1)), images.max(axis=(0, 1))
        normalised = (images - (low + high) / 2) / ((high - low).max() / 2)
        np.testing.assert_allclose(windows["pose_3d"][w], points, atol=1e-6)
        np.testing.assert_allclose(windows["root_3d"][w], roots, atol=1e-5)
        np.testing.assert_allclose(windows["pose_2d"][w, ..., :2], normalised, atol=1e-6)


def axes_of(windows, number):
    """Axes (3, 3) of a window."""
    return rotation_matrix(*(np.deg2rad(windows[name][number]) for name in ANGLES))


def test_a_window_in_perspective_is_in_the_middle_of_the_image_of_its_camera(walking):
    """The camera of the clip looks beside the person; the camera of the window is turned to the person."""
    camera = Camera(rotation_matrix(0.4, 0.3, 0.1), np.array([-4.0, -4.0, 2.0]), Projection.PERSPECTIVE)
    windows = project_windows(walking, np.array([0, 50]), 27, camera)
    for w, start in enumerate((0, 50)):
        joints = (walking[start : start + 27] - camera.position) @ axes_of(windows, w).T
        image = joints[..., :2] / joints[..., 2:]
        low, high = image.min(axis=(0, 1)), image.max(axis=(0, 1))
        assert np.abs(low + high).max() < 0.1 * (high - low).max()
    orthographic = Camera(camera.rotation, camera.position, Projection.ORTHOGRAPHIC)
    np.testing.assert_allclose(
        axes_of(project_windows(walking, np.array([0]), 27, orthographic), 0), camera.rotation, atol=1e-12
    )


def test_transposed_clips_of_the_pickle_become_windows(walking):
    """Check (17, T, 3) -> (n, T, 17, 3): a reshape would mix joints and frames."""
    published = np.ascontiguousarray(walking.transpose(1, 0, 2))
    camera = draw_camera(walking, 0, 0, ConvertParameters(max_pitch_deg=0, projection=Projection.ORTHOGRAPHIC))
    windows = project_windows(published.transpose(1, 0, 2), np.array([5]), 4, camera)
    for t in range(4):
        for joint in range(17):
            offset = camera.rotation @ (published[joint, 5 + t] - published[PELVIS, 5 + t])
            np.testing.assert_allclose(windows["pose_3d"][0, t, joint], offset, atol=1e-5)


@projections
def test_the_bounding_box_is_minus_one_to_one_and_the_root_is_zero(walking, projection):
    windows = project_windows(
        walking,
        np.arange(0, 100, 10),
        9,
        draw_camera(walking, 0, 0, ConvertParameters(max_pitch_deg=15, projection=projection)),
    )
    xy = windows["pose_2d"][..., :2]
    np.testing.assert_allclose(np.abs(xy).max(axis=(1, 2, 3)), 1, atol=1e-6)
    assert (windows["pose_3d"][:, :, PELVIS] == 0).all()
    assert (windows["root_3d"][..., 2] > 2.9).all()


def test_the_scale_converts_back_to_metres(walking):
    windows = project_windows(
        walking,
        np.arange(0, 100, 10),
        9,
        draw_camera(walking, 0, 0, ConvertParameters(max_pitch_deg=15, projection=Projection.ORTHOGRAPHIC)),
    )
    xy = windows["pose_2d"][..., :2] - windows["pose_2d"][:, :, PELVIS : PELVIS + 1, :2]
    np.testing.assert_allclose(xy / windows["scale"][:, None, None, None], windows["pose_3d"][..., :2], atol=1e-6)


def test_the_scale_is_valid_at_the_depth_of_the_root_in_perspective(walking):
    camera = draw_camera(walking, 0, 0, ConvertParameters(max_pitch_deg=0))
    windows = project_windows(walking, np.array([10]), 1, camera)
    camera = Camera(axes_of(windows, 0), camera.position, Projection.PERSPECTIVE)
    at_root = np.array([[0.0, 0.0, 0.0], [0.1, 0.2, 0.0]]) + windows["root_3d"][0, 0]
    image = camera.project(at_root)
    xy = camera.project(camera.to_camera(walking[10].astype(np.float64)))
    half = (xy.max(axis=0) - xy.min(axis=0)).max() / 2
    np.testing.assert_allclose((image[1] - image[0]) / half / windows["scale"][0], [0.1, 0.2], atol=1e-6)


@settings(max_examples=20)
@given(angle=angles)
def test_rotating_the_world_and_the_camera_changes_no_window(walking, angle):
    camera = draw_camera(walking, 0, 0, ConvertParameters(max_pitch_deg=15))
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    turned = type(camera)(camera.rotation @ turn.T, turn @ camera.position, camera.projection)
    one = project_windows(walking, np.array([0, 50]), 9, camera)
    other = project_windows((walking @ turn.T).astype(np.float64), np.array([0, 50]), 9, turned)
    for name in set(one) - {"yaw_deg"}:
        np.testing.assert_allclose(one[name], other[name], atol=1e-5)


def test_a_camera_depends_only_on_seed_clip_and_view(walking):
    def rotation(clip_id, view, seed):
        return draw_camera(
            walking, clip_id, view, ConvertParameters(seed=seed, max_pitch_deg=15, projection=Projection.ORTHOGRAPHIC)
        ).rotation

    np.testing.assert_array_equal(rotation(1, 2, 3), rotation(1, 2, 3))
    for other in ((2, 2, 3), (1, 1, 3), (1, 2, 4)):
        assert not np.allclose(rotation(1, 2, 3), rotation(*other))


@given(st.integers(1, 400), st.integers(1, 60), st.integers(1, 60))
def test_every_frame_is_covered_and_the_last_window_ends_with_the_clip(frames, window, stride):
    starts = window_starts(frames, window, stride, pad=True)
    assert (np.diff(starts) > 0).all()
    if frames >= window:
        assert starts[-1] + window == frames
    covered = np.zeros(max(frames, window), dtype=bool)
    for start in starts:
        covered[start : start + window] = True
    if stride <= window:
        assert covered[:frames].all()
    assert len(window_starts(frames, window, stride, pad=False)) == (len(starts) if frames >= window else 0)


def test_padding_repeats_the_last_frame_with_confidence_zero(walking):
    camera = draw_camera(walking, 0, 0, ConvertParameters(max_pitch_deg=0, projection=Projection.ORTHOGRAPHIC))
    windows = project_windows(walking[:5], np.array([0]), 9, camera)
    assert (windows["pose_2d"][0, :5, :, 2] == 1).all()
    assert (windows["pose_2d"][0, 5:, :, 2] == 0).all()
    np.testing.assert_array_equal(windows["pose_3d"][0, 5:], np.repeat(windows["pose_3d"][0, 4:5], 4, axis=0))


@projections
@settings(max_examples=15)
@given(start=st.integers(0, 170), window=st.integers(1, 40))
def test_a_window_is_equal_bit_for_bit_alone_and_among_others(walking, projection, start, window):
    camera = draw_camera(walking, 2, 0, ConvertParameters(max_pitch_deg=15, projection=projection))
    among = project_windows(walking, np.arange(171), window, camera)
    alone = project_windows(walking, np.array([start]), window, camera)
    for name in among:
        np.testing.assert_array_equal(alone[name][0], among[name][start])
