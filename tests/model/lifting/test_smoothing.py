"""Smoothing: slow motion is unchanged, the cutoff is halved, seen frames weigh more; resampling is reversible."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.parameters import OneEuroParameters
from model.lifting.smoothing import follow, resample_seen, resampled_rate, smooth, values_at

FPS = 60.0


@given(order=st.integers(2, 3), cutoff=st.floats(0.5, 20), slope=st.floats(-3, 3))
def test_constant_speed_is_unchanged_up_to_the_last_frame(order, cutoff, slope):
    line = (1.0 + slope * np.arange(50))[:, None]
    np.testing.assert_allclose(smooth(line, np.ones(50), cutoff, FPS, order), line, atol=1e-5)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("cutoff", [2.0, 6.0])
def test_amplitude_is_halved_at_the_cutoff_without_lag(order, cutoff):
    wave = np.sin(2 * np.pi * cutoff * np.arange(600) / FPS)
    smoothed = smooth(wave[:, None], np.ones(600), cutoff, FPS, order)[:, 0]
    middle = slice(200, 400)
    assert smoothed[middle] @ wave[middle] / (wave[middle] @ wave[middle]) == pytest.approx(0.5, abs=0.01)
    np.testing.assert_allclose(smoothed[middle], 0.5 * wave[middle], atol=0.02)


def test_unseen_frames_have_little_weight():
    wave = np.sin(np.arange(120) / 15)
    broken, weights = wave.copy(), np.ones(120)
    broken[60:66], weights[60:66] = 5.0, 0.0
    smoothed = smooth(broken[:, None], weights, 6.0, FPS)[:, 0]
    assert np.abs(smoothed - wave).max() < 0.05
    assert np.abs(smooth(broken[:, None], np.ones(120), 6.0, FPS)[:, 0] - wave).max() > 2


def test_cutoff_above_half_the_rate_changes_nothing():
    noise = np.random.default_rng(0).normal(size=(30, 3))
    np.testing.assert_array_equal(smooth(noise, np.ones(30), 30.0, FPS), noise)
    np.testing.assert_array_equal(smooth(noise[:2], np.ones(2), 6.0, FPS), noise[:2])


def test_one_euro_filter_reduces_jitter_at_rest_and_lag_in_motion():
    random = np.random.default_rng(0)
    still = 1 + 0.01 * random.normal(size=(300, 17, 3))
    assert follow(still, FPS, OneEuroParameters())[100:].std() < 0.6 * still.std()
    ramp = np.linspace(0, 10, 120)[:, None]  # 5 m/s
    assert np.abs(follow(ramp, FPS, OneEuroParameters())[30:] - ramp[30:]).max() < 0.1


@pytest.mark.parametrize(("fps", "wanted"), [(30.0, 60.0), (25.0, 60.0), (120.0, 60.0), (50.0, 30.0)])
def test_slow_motion_survives_resampling(fps, wanted):
    times = np.arange(80) / fps
    pose = np.ones((80, 17, 3), np.float32)
    pose[..., 0] = 100 * np.sin(2 * times)[:, None]
    there = resample_seen(pose, fps, wanted)
    assert len(there) == int(79 * wanted / fps) + 1
    back = values_at(there, np.arange(80) * wanted / fps)
    assert back.shape == pose.shape
    inner = slice(0, 80 - int(np.ceil(fps / wanted)))
    np.testing.assert_allclose(back[inner], pose[inner], atol=0.6)


def test_joint_missing_in_one_of_two_frames_is_not_interpolated():
    pose = np.ones((10, 17, 3), np.float32)
    pose[4, 3] = 0
    there = resample_seen(pose, 30.0, 60.0)
    assert (there[7:10, 3] == 0).all()
    assert (there[[6, 10], 3] == 1).all()
    assert (np.delete(there, 3, axis=1) == 1).all()


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("cutoff", [1e-4, 0.01, 0.5])
def test_equations_are_solvable_for_any_cutoff(order, cutoff):
    """Regression: the Cholesky decomposition failed below 0.02 Hz."""
    weights = np.random.default_rng(0).uniform(size=3000)
    weights[1000:2000] = 0
    line = 5 + (order > 1) * np.linspace(0, 3, 3000)[:, None]
    np.testing.assert_allclose(smooth(line, weights, cutoff, 1000.0, order), line, atol=0.01)


def test_resampled_rate_is_limited():
    assert resampled_rate(25.0, 60.0) == resampled_rate(240.0, 60.0) == 60.0
    assert resampled_rate(0.01, 60.0) == pytest.approx(0.6)
    assert resampled_rate(59.94, 60.0) == 59.94
