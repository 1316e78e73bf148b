"""The picture of the nights: what stands on what."""

import pytest

from tasks.figures.durations import durations

DAY = 86_400.0


def test_a_bar_is_as_high_as_its_night_was_long_and_the_stages_stand_in_their_order():
    nights = [(0.0, {"finetune": 60.0, "pretrain": 120.0, "ingest": 0.0}), (DAY, {"pretrain": 30.0}), (2 * DAY, {})]
    (ax,) = durations(nights).axes
    bars = {
        container.get_label(): [(bar.get_y(), bar.get_height()) for bar in container] for container in ax.containers
    }
    assert list(bars) == ["pretrain", "finetune"]  # nobody saw ingest at work
    assert bars["pretrain"] == [(0, 2.0), (0, 0.5), (0, 0)]
    assert bars["finetune"] == [(2.0, pytest.approx(1.0)), (0.5, 0), (0, 0)]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["01-01 00:00", "01-02 00:00", "01-03 00:00"]


def test_nights_in_which_all_was_cached_are_a_picture_too():
    (ax,) = durations([(0.0, {"ingest": 0.0})]).axes
    assert not ax.containers
