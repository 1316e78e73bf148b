"""Simulate promotions: how often a challenger without a gain is promoted, and how often a better one is refused.

    python -m benchmarks.promotion [--reports 400] [--subjects 2 5 10 20] [--seed 0] [--processes 2]
    python -m benchmarks.promotion --measure REPORT REPORT ...

A simulated report contains the errors of 16 joints of two models in each window. The logarithm of an error is a sum of
normal effects of subject, clip and window, and of their effects on single joints. The difference of the models is a sum
of the same kinds of effects, in proportion to the error, and of effects of joints and actions on all subjects. MPJPE,
PCK and the scores of joints, actions and subjects follow from the joint errors. The difference under detector noise is
the difference without noise plus an effect of the two models. All checks of `tasks.promotion.rules` decide.

`--measure` prints the standard deviations of pairs of real reports (folders of `uplift evaluate` on the same windows)
and of simulated ones. The constants below were chosen so that both agree.
"""

import argparse
import itertools
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from data_contracts.parameters import PromoteParameters
from data_contracts.report import JOINT_COLUMNS, PCK_MM, SCORE_COLUMNS, WEIGHT_COLUMNS, read_errors, read_report
from model.scoring.intervals import difference
from tasks.promotion.rules import checks

JOINTS = [column for column in JOINT_COLUMNS.values() if column != "pelvis_mm"]  # the pelvis has no error
CHAMPION_MM, CHAMPION_NOISE_MM = 50.0, 105.0
_SHAPE = np.array([10, 53, 82, 10, 52, 85, 27, 40, 44, 55, 46, 60, 79, 47, 64, 86])  # mean errors of the joints
JOINT_MM = _SHAPE * CHAMPION_MM * len(JOINT_COLUMNS) / _SHAPE.sum()
CLIPS = (1, 1, 1, 2, 2, 11, 12, 18, 20, 20, 20, 22, 33)  # clips of each subject of the measured reports
CLIP_WINDOWS = (4.12, 0.64)  # windows of a clip: mean and standard deviation of the logarithm
ACTIONS = 20  # the share of clips of the action of rank k is proportional to 1 / k


@dataclass(frozen=True)
class Spread:
    """Standard deviations of random effects: on all joints alike, or on each joint separately (`*_joint`)."""

    subject: float
    clip: float
    window: float
    subject_joint: float
    clip_joint: float
    window_joint: float


@dataclass(frozen=True)
class Pair:
    """Standard deviations of the differences of two models.

    Attributes
    ----------
    share
        Effects that are proportional to the error.
    joint_mm, action_mm
        Effects of joints and actions that are the same for all subjects.
    noise_mm
        Difference of MPJPE under detector noise minus that without noise.
    """

    share: Spread
    joint_mm: float
    action_mm: float
    noise_mm: float = 6.5


ERRORS = Spread(0.25, 0.38, 0.34, 0.34, 0.45, 0.62)  # of the logarithm of an error
SEEDS = Pair(Spread(0.01, 0.06, 0.10, 0.01, 0.12, 0.22), 1.0, 1.5)  # two models that differ in the seed
RECIPES = Pair(Spread(0.015, 0.09, 0.14, 0.015, 0.18, 0.31), 2.4, 2.2)  # two models that differ in the training
JOINT_POWER = 0.7  # an effect on a single joint grows with this power of its error


@dataclass(frozen=True)
class Challenger:
    """Simulated challenger: the true differences from the champion over all subjects, clips and actions."""

    name: str
    pair: Pair
    gain_mm: float
    wrist_loss_mm: float = 0.0


CHALLENGERS = (
    Challenger("1 mm worse, other training", RECIPES, -1),
    Challenger("equal, other seed", SEEDS, 0),
    Challenger("equal, other training", RECIPES, 0),
    Challenger("3 mm better, other training", RECIPES, 3),
    Challenger("3 mm better, left wrist 15 mm worse", RECIPES, 3, 15),
)


def simulate(subjects: int, challenger: Challenger, random: np.random.Generator) -> tuple[pd.DataFrame, float]:
    """Return a table of differences (challenger minus champion), and the challenger's MPJPE under noise, in mm.

    The table has one row per window and the columns of `model.scoring.intervals.difference`.
    """
    group = np.repeat(np.arange(subjects), random.choice(CLIPS, subjects))  # of each clip
    windows = random.lognormal(*CLIP_WINDOWS, len(group)).round().clip(4, 300).astype(int)
    clip = np.repeat(np.arange(len(group)), windows)  # of each window
    shares = 1 / np.arange(1, ACTIONS + 1)
    action = random.choice(ACTIONS, len(group), p=shares / shares.sum())[clip]

    on_all, on_joint = _effects(ERRORS, group[clip], clip, random)
    variance = sum(sd**2 for sd in vars(ERRORS).values())
    error = JOINT_MM * np.exp(on_all + on_joint - variance / 2)  # (windows, joints), of both models
    pair = challenger.pair
    on_all, on_joint = _effects(pair.share, group[clip], clip, random)
    of_joint, of_action = random.normal(0, pair.joint_mm, len(JOINTS)), random.normal(0, pair.action_mm, ACTIONS)
    if challenger.wrist_loss_mm:
        wrist = JOINTS.index("left_wrist_mm")
        loss_mm = challenger.wrist_loss_mm + challenger.gain_mm * JOINT_MM[wrist] / CHAMPION_MM
        of_joint[wrist] += loss_mm * len(JOINTS) / (len(JOINTS) - 1)  # the other joints gain what the wrist loses
    of_joint, of_action = of_joint - of_joint.mean(), of_action - np.average(of_action, weights=shares)
    change = error * (on_all - challenger.gain_mm / CHAMPION_MM) + of_joint + of_action[action][:, None]
    change += CHAMPION_MM * (error / CHAMPION_MM) ** JOINT_POWER * on_joint
    before, after = (np.abs(error + half) for half in (-change / 2, change / 2))

    scores = dict.fromkeys(SCORE_COLUMNS, 0.0) | dict(zip(JOINTS, (after - before).T, strict=True))
    scores["mpjpe_mm"] = (after - before).sum(axis=1) / len(JOINT_COLUMNS)
    scores["pck_150"] = ((after <= PCK_MM).sum(axis=1) - (before <= PCK_MM).sum(axis=1)) / len(JOINT_COLUMNS)
    of_windows = {"window_id": np.arange(len(clip)), "clip_id": clip, "group": group[clip], "action": action}
    constant = {"camera": 0, "yaw_deg": 0.0, **dict.fromkeys(WEIGHT_COLUMNS, 9.0)}
    noise_mm = CHAMPION_NOISE_MM + float(scores["mpjpe_mm"].mean()) + random.normal(0, pair.noise_mm)
    return pd.DataFrame({**of_windows, **constant, **scores}), noise_mm


def count_failures(reports: int, seed: int, subjects: int, challenger: Challenger) -> Counter[str]:
    """Return how many simulated reports fail each check, and how many fail none (`promoted`)."""
    random, counts = np.random.default_rng((seed, subjects, CHALLENGERS.index(challenger))), Counter[str]()
    for _ in range(reports):
        pairs, noise_mm = simulate(subjects, challenger, random)
        results = checks(pairs, [(noise_mm, CHAMPION_NOISE_MM)], PromoteParameters())
        failed = [check.name for check in results if not check.passed]
        counts.update(failed or ["promoted"])
    return counts


def measure(pairs: pd.DataFrame) -> dict[str, float]:
    """Return the standard deviations of a table of differences, and the correlation of MPJPE and PCK."""
    joints = pairs[JOINTS].to_numpy(dtype=float)
    joints = joints - joints.mean(axis=1, keepdims=True)
    values = {
        "MPJPE, mm": pairs[["mpjpe_mm"]].to_numpy(dtype=float),
        "PCK, points": 100 * pairs[["pck_150"]].to_numpy(dtype=float),
        "joint, mm": joints - joints.mean(axis=0),
    }
    found = {f"{name}: {unit}": sd for name in values for unit, sd in _nested_sd(values[name], pairs).items()}
    found["joint, mm: same for all"] = float(joints.mean(axis=0).std(ddof=1))
    return found | {"correlation of MPJPE and PCK": float(np.corrcoef(pairs["mpjpe_mm"], pairs["pck_150"])[0, 1])}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=int, default=400, help="Simulated reports per cell.")
    parser.add_argument("--subjects", type=int, nargs="+", default=[2, 5, 10, 20], help="Numbers of test subjects.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the simulation.")
    parser.add_argument("--processes", type=int, default=2, help="Cells that are computed at once.")
    parser.add_argument("--measure", type=Path, nargs="+", metavar="REPORT", help="Report folders to measure instead.")
    options = parser.parse_args()
    if options.measure:
        _print_measured(options.measure, options.seed)
        return
    cells = list(itertools.product(options.subjects, CHALLENGERS))
    with ProcessPoolExecutor(options.processes) as pool:
        counts = list(pool.map(partial(count_failures, options.reports, options.seed), *zip(*cells, strict=True)))
    rows = {
        (subjects, challenger.name): {name: f"{number / options.reports:.1%}" for name, number in found.items()}
        for (subjects, challenger), found in zip(cells, counts, strict=True)
    }
    table = pd.DataFrame.from_dict(rows, orient="index").fillna("0.0%").rename_axis(["subjects", "challenger"])
    print(table[["promoted", *(name for name in table if name != "promoted")]].to_string())


def _print_measured(folders: list[Path], seed: int) -> None:
    measured = {}
    for first, second in itertools.combinations(folders, 2):
        found = measure(difference(read_errors(first), reference=read_errors(second)))
        robust = [read_report(folder).robustness for folder in (first, second)]
        for condition in ("clean", "noise"):
            of_both = [each.mpjpe_mm[condition]["model"] for each in robust if each]
            found[f"difference, {condition}, mm"] = of_both[0] - of_both[1] if len(of_both) == 2 else np.nan
        measured[f"{first.name[:5]}-{second.name[:5]}"] = found
    random = np.random.default_rng(seed)
    for challenger in CHALLENGERS[1:3]:
        simulated = [measure(simulate(len(CLIPS), challenger, random)[0]) for _ in range(20)]
        measured[f"simulated: {challenger.name}"] = dict(pd.DataFrame(simulated).mean())
    print(pd.DataFrame(measured).round(2).to_string())


def _effects(
    spread: Spread, group: np.ndarray, clip: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return random effects on all joints alike (windows, 1), and on each joint separately (windows, joints)."""
    on_all, on_joint = np.zeros((len(clip), 1)), np.zeros((len(clip), len(JOINTS)))
    for name, unit in {"subject": group, "clip": clip, "window": np.arange(len(clip))}.items():
        on_all += random.normal(0, getattr(spread, name), (unit[-1] + 1, 1))[unit]
        on_joint += random.normal(0, getattr(spread, f"{name}_joint"), (unit[-1] + 1, len(JOINTS)))[unit]
    return on_all, on_joint


def _nested_sd(values: np.ndarray, pairs: pd.DataFrame) -> dict[str, float]:
    """Return the standard deviations between subjects, clips of a subject and windows of a clip, pooled over columns.

    The method is a nested analysis of variance; `values`: (windows, columns).
    """
    clip = pd.factorize(pairs["clip_id"])[0]
    windows, columns = np.bincount(clip), values.shape[1]
    group = pd.factorize(pairs["group"].groupby(clip).first())[0]
    of_clip = np.stack([np.bincount(clip, column) / windows for column in values.T], axis=1)
    within = ((values - of_clip[clip]) ** 2).sum() / ((len(values) - len(windows)) * columns)
    members = [np.flatnonzero(group == one) for one in range(group.max() + 1)]
    of_group = np.stack([np.average(of_clip[clips], axis=0, weights=windows[clips]) for clips in members])
    totals = np.array([windows[clips].sum() for clips in members])
    squares = np.array([(windows[clips] ** 2).sum() for clips in members])
    degrees = len(windows) - len(members)
    between = (windows[:, None] * (of_clip - of_group[group]) ** 2).sum() / (degrees * columns)
    clips_variance = max(0.0, (between - within) / ((len(values) - (squares / totals).sum()) / degrees))
    sampled = (clips_variance * squares / totals**2 + within / totals).mean()
    subjects_variance = max(0.0, of_group.var(axis=0, ddof=1).mean() - sampled)
    return {"subjects": subjects_variance**0.5, "clips": clips_variance**0.5, "windows": within**0.5}


if __name__ == "__main__":
    main()
