"""Statistics of drift: what scipy says, few false warnings, and shifts found."""

import numpy as np
import pytest
from scipy import stats

from tasks.viewer.drift import LEAST_DISTANCE, LEAST_INDEX, _chi_squared, of_labels, of_numbers


def test_the_distance_is_scipys_ties_included():
    random = np.random.default_rng(0)
    for _ in range(20):
        before, now = random.integers(0, 8, 31).astype(float), random.integers(1, 9, 17).astype(float)
        assert of_numbers("", before, now).value == pytest.approx(stats.ks_2samp(before, now).statistic)


def test_samples_of_one_distribution_are_called_moved_once_in_a_thousand_at_most():
    random = np.random.default_rng(1)
    moved = [of_numbers("", random.normal(size=60), random.normal(size=90)).moved for _ in range(2000)]
    assert sum(moved) <= 6
    shares = random.dirichlet(np.ones(12))
    labels = [
        of_labels(
            "", *({str(i): n for i, n in enumerate(random.multinomial(size, shares))} for size in (150, 90))
        ).moved
        for _ in range(2000)
    ]
    assert sum(labels) <= 10  # rare labels: chi-squared is not quite what the index follows


def test_a_shift_is_found_and_a_small_one_of_many_clips_is_none():
    random = np.random.default_rng(2)
    many = random.normal(size=20_000)
    assert of_numbers("", many, many[:9000] + 1).moved
    small = of_numbers("", many, many[:9000] + 0.1)
    assert not small.moved
    assert small.bound == LEAST_DISTANCE
    assert of_labels("", {"walking": 500, "running": 500}, {"walking": 100, "running": 900}).moved
    assert of_labels("", {"walking": 500}, {"walking": 300, "falling": 200}).moved
    same = of_labels("", {"walking": 5000, "running": 5000}, {"walking": 5300, "running": 4700})
    assert not same.moved
    assert same.bound == LEAST_INDEX


def test_few_people_tell_nothing():
    assert of_numbers("", np.array([1.6, 1.7]), np.array([1.9, 2.0])).bound > 1


def test_the_quantile_is_chi_squareds():
    for degrees in (1, 2, 5, 20, 100):
        assert _chi_squared(degrees) == pytest.approx(
            stats.chi2.ppf(0.999, degrees), rel=0.06 if degrees == 1 else 0.03
        )
