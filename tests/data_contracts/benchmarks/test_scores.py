"""Means of benchmark scores over groups and over frames."""

import pytest

from data_contracts.benchmarks.scores import BenchmarkScores, weighted_mean, with_mean
from data_contracts.labelled_scores import MEAN


def scores(frames, error):
    errors = dict.fromkeys(("mpjpe_mm", "distance_mpjpe_mm", "n_mpjpe_mm", "p_mpjpe_mm"), error)
    return BenchmarkScores(frames=frames, **errors, pck_150=0.9, auc_150=0.5)


def test_the_mean_is_over_frames_or_over_groups():
    groups = {"Walking": scores(30, 10.0), "Eating": scores(10, 50.0)}
    by_frame, by_group = (with_mean(groups, by_group)[MEAN] for by_group in (False, True))
    assert by_frame.mpjpe_mm == pytest.approx(20)
    assert by_group.mpjpe_mm == by_group.p_mpjpe_mm == pytest.approx(30)
    assert by_frame.frames == by_group.frames == 40
    assert weighted_mean([scores(3, 7.0)]) == scores(3, 7.0)


def test_cells_have_the_order_of_the_titles_and_shares_in_percent():
    cells = dict(zip(BenchmarkScores.titles(), scores(1200, 10.0).cells(), strict=True))
    assert cells["frames"] == "1,200"
    assert (cells["mpjpe_mm"], cells["pck_150"], cells["auc_150"]) == ("10.0", "90.0", "50.0")
