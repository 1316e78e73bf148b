"""Tests of the figure of stage durations."""

import pytest

from tasks.figures.durations import durations_figure

DAY = 86_400.0


def test_bars_stack_the_minutes_of_the_stages_in_pipeline_order():
    runs = [(0.0, {"finetune": 60.0, "pretrain": 120.0, "ingest": 0.0}), (DAY, {"pretrain": 30.0}), (2 * DAY, {})]
    (ax,) = durations_figure(runs).axes
    bars = {
        container.get_label(): [(bar.get_y(), bar.get_height()) for bar in container] for container in ax.containers
    }
    assert list(bars) == ["pretrain", "finetune"]  # ingest was cached in every run
    assert bars["pretrain"] == [(0, 2.0), (0, 0.5), (0, 0)]
    assert bars["finetune"] == [(2.0, pytest.approx(1.0)), (0.5, 0), (0, 0)]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["01-01 00:00", "01-02 00:00", "01-03 00:00"]


def test_runs_with_only_cached_stages_have_no_bars():
    (ax,) = durations_figure([(0.0, {"ingest": 0.0})]).axes
    assert not ax.containers
