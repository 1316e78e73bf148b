import numpy as np
import pandas as pd
import pytest

from data_contracts.errors import InputError
from data_contracts.parameters import PromoteParameters
from tasks.promote import compare


def errors(offset=0.0, noise=0.0, clips=12, per_clip=20):
    random = np.random.default_rng(1)
    base = random.uniform(40, 90, clips * per_clip)
    return pd.DataFrame(
        {
            "window_id": [str(i) for i in range(clips * per_clip)],
            "clip_id": np.repeat(np.arange(clips), per_clip),
            "frames": 9.0,
            "weight": 9.0,
            "mpjpe_mm": base + offset + noise * np.repeat(random.normal(size=clips), per_clip),
        }
    )


def test_a_better_challenger_is_promoted_a_worse_or_equal_one_is_not():
    assert compare(errors(-3.0), errors(), PromoteParameters())["promoted"]
    assert not compare(errors(3.0), errors(), PromoteParameters())["promoted"]
    assert not compare(errors(), errors(), PromoteParameters())["promoted"]


def test_a_difference_that_a_few_clips_make_is_not_certain():
    decision = compare(errors(-0.5, noise=5.0), errors(), PromoteParameters())
    low, high = decision["interval_mm"]
    assert low < decision["difference_mm"] < high
    assert not decision["promoted"]
    assert "not certainly better" in decision["reason"]


def test_other_windows_are_refused():
    with pytest.raises(InputError, match="same windows"):
        compare(errors(), errors(clips=11), PromoteParameters())
