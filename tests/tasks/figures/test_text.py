"""Tests of user names in figures: every name is drawn unchanged."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure

from data_contracts.report import Report
from data_contracts.text import printable
from tasks.figures.motion import lifted_sheet
from tasks.figures.scores import error_bars
from tests.hostile_names import NAMES
from tests.tasks.tracking.test_scores import estimate, report


def drawn(figure: Figure, kind: str) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format=kind, dpi=30)
    return file.getvalue()


@pytest.mark.filterwarnings("ignore:Glyph")  # the font has no Chinese
@pytest.mark.parametrize("kind", ["png", "svg"])
def test_bars_have_the_names_of_actions_and_subjects(kind):
    named = {name: estimate(place) for place, name in enumerate(reversed(NAMES))}
    scores = report().model.model_copy(update={"per_action_mm": named, "per_group_mm": named})
    figure = error_bars(Report.model_construct(**{**dict(report()), "model": scores, "mlp": scores}))
    assert drawn(figure, kind)
    for ax in figure.axes:
        labels = [label.get_text() for label in ax.get_yticklabels()]
        assert labels == [printable(name)[:32] for name in NAMES]


@pytest.mark.filterwarnings("ignore:Glyph")
def test_titles_of_lifted_poses_are_the_actions():
    poses = np.random.default_rng(0).normal(size=(len(NAMES), 17, 3))
    figure = lifted_sheet(poses, poses, poses, NAMES)
    assert drawn(figure, "png")
    assert [ax.get_title() for ax in figure.axes[: len(NAMES)]] == [printable(name)[:24] for name in NAMES]


def test_dollar_signs_do_not_start_a_formula():
    figure = Figure()
    title = figure.subplots().set_title("$x^{2$")
    assert not title.get_parse_math()
    assert drawn(figure, "png")
