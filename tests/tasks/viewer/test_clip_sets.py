"""Tests of the drift statistics: agreement with scipy, few false warnings, and detected shifts."""

import numpy as np
import pytest
from scipy import stats

from tasks.viewer.clip_sets import LEAST_DISTANCE, LEAST_INDEX, label_drift, numeric_drift


def test_the_distance_equals_that_of_scipy_with_ties():
    random = np.random.default_rng(0)
    for _ in range(20):
        before, now = random.integers(0, 8, 31).astype(float), random.integers(1, 9, 17).astype(float)
        assert numeric_drift("", before, now).value == pytest.approx(stats.ks_2samp(before, now).statistic)


def test_samples_of_one_distribution_rarely_count_as_moved():
    random = np.random.default_rng(1)
    moved = [numeric_drift("", random.normal(size=60), random.normal(size=90)).moved for _ in range(2000)]
    assert sum(moved) <= 6
    shares = random.dirichlet(np.ones(12))
    labels = [
        label_drift(
            "", *({str(i): n for i, n in enumerate(random.multinomial(size, shares))} for size in (150, 90))
        ).moved
        for _ in range(2000)
    ]
    assert sum(labels) <= 10  # with rare labels, the index is only roughly chi-squared


def test_a_large_shift_is_detected_and_a_small_one_of_many_clips_is_not():
    random = np.random.default_rng(2)
    many = random.normal(size=20_000)
    assert numeric_drift("", many, many[:9000] + 1).moved
    small = numeric_drift("", many, many[:9000] + 0.1)
    assert not small.moved
    assert small.bound == LEAST_DISTANCE
    assert label_drift("", {"walking": 500, "running": 500}, {"walking": 100, "running": 900}).moved
    assert label_drift("", {"walking": 500}, {"walking": 300, "falling": 200}).moved
    same = label_drift("", {"walking": 5000, "running": 5000}, {"walking": 5300, "running": 4700})
    assert not same.moved
    assert same.bound == LEAST_INDEX


def test_the_bound_for_few_subjects_is_above_the_largest_distance():
    assert numeric_drift("", np.array([1.6, 1.7]), np.array([1.9, 2.0])).bound > 1


def test_the_bound_of_labels_is_the_quantile_of_chi_squared():
    for labels in (2, 5, 20, 100):
        counts = {str(label): 1 for label in range(labels)}
        expected = stats.chi2.ppf(0.999, labels - 1) * 2 / labels
        assert label_drift("", counts, counts).bound == pytest.approx(expected)


def test_one_label_has_no_drift():
    drift = label_drift("", {"walking": 3}, {"walking": 9})
    assert (drift.value, drift.bound) == (0, LEAST_INDEX)
