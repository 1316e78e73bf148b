"""How often a challenger that is no better is promoted, and one that is better: simulated nights.

    python -m benchmarks.promotion [--nights 1000] [--person-mm 2] [--clip-mm 2] [--clips 8]

A night compares two models on 2, 5 or 20 people with some clips each. In truth they differ by so many millimetres over
all people there are; what they differ by in one person strays from it (s.d. `--person-mm`), and in one clip again
(`--clip-mm`). The rule is `tasks.promotion.verdict`; that of before drew clips again and asked for nothing else. Of the
nights without a difference 5 % may promote.
"""

import argparse

import numpy as np
import pandas as pd

from data_contracts.parameters import PromoteParameters
from data_contracts.report import SCORE_COLUMNS, WEIGHT_COLUMNS, Resampling
from model.scoring.intervals import difference, estimate
from tasks.promotion.verdict import judge

PEOPLE = (1, 2, 5, 20)
TRUTHS_MM = (0.0, -2.0, -5.0)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, default=1000)
    parser.add_argument("--person-mm", type=float, default=2.0)
    parser.add_argument("--clip-mm", type=float, default=2.0)
    parser.add_argument("--clips", type=int, default=8)
    options = parser.parse_args()
    random, parameters = np.random.default_rng(0), PromoteParameters(resamples=2000)
    print("people | true difference, mm | promoted: by clips (before) | promoted now")
    for people in PEOPLE:
        for truth in TRUTHS_MM:
            before, now = np.mean(
                [_night(people, truth, options, random, parameters) for _ in range(options.nights)], 0
            )
            print(f"{people} | {truth:+g} | {before:.1%} | {now:.1%}", flush=True)


def _night(
    people: int, truth: float, options: argparse.Namespace, random: np.random.Generator, parameters: PromoteParameters
) -> tuple[bool, bool]:
    """Whether the rule of before and that of now promote."""
    group = np.repeat(np.arange(people), options.clips)
    strays = random.normal(0, options.person_mm, people)[group] + random.normal(0, options.clip_mm, len(group))
    challenger, champion = _errors(group, 50 + truth + strays), _errors(group, np.full(len(group), 50.0))
    pairs = difference(challenger, than=champion)
    by_clips = estimate(pairs, ["mpjpe_mm"], Resampling(resamples=2000, min_people=people + 1))
    high = by_clips["mpjpe_mm"].high
    return high is not None and high < 0, judge(pairs, [], parameters).promoted


def _errors(group: np.ndarray, mpjpe_mm: np.ndarray) -> pd.DataFrame:
    """An error table, a window a clip."""
    clips = np.arange(len(group))
    of_clips = {"window_id": clips, "clip_id": clips, "group": group, "action": "walk", "camera": 0, "yaw_deg": 0.0}
    weights, scores = dict.fromkeys(WEIGHT_COLUMNS, 1.0), dict.fromkeys(SCORE_COLUMNS, 0.0)
    return pd.DataFrame({**of_clips, **weights, **scores, "mpjpe_mm": mpjpe_mm})


if __name__ == "__main__":
    main()
