"""Decide whether a challenger is better than the champion, by the score differences on the same windows.

- A gain or a regression counts only if its whole interval is beyond a bound. Otherwise some of the dozens of joints,
  actions and subjects would always be worse by chance.
- Intervals are Student's over subjects, because windows of one clip and clips of one subject are alike. With one
  subject the interval is over clips, and a gain of `one_person_gain_mm` is required. One clip has no interval.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import pandas as pd
from pydantic import Field

from data_contracts.parameters import PromoteParameters
from data_contracts.report import JOINT_COLUMNS, Estimate, Estimates, Resampling
from model.scoring.intervals import clip_means, estimates, students_interval

Errors = pd.DataFrame  # in the layout of `data_contracts.report.read_errors`


@dataclass(frozen=True)
class Check:
    """One requirement of a promotion, and whether the challenger passed it."""

    name: str
    passed: bool
    result: Annotated[str, Field(alias="said")]  # "said" is the key in JSON


@dataclass(frozen=True)
class Verdict:
    """All checks, and `differences`: challenger minus champion, or minus the best baseline; None if not compared."""

    checks: tuple[Check, ...]
    differences: Estimates | None

    @property
    def promoted(self) -> bool:
        """Whether every check is passed."""
        return all(check.passed for check in self.checks)

    @property
    def reason(self) -> str:
        """One sentence with the gain, or with the failed checks."""
        failed = [check.result for check in self.checks if not check.passed]
        return "; ".join(failed or [self.checks[0].result])


def judge(pairs: Errors, noise_mm: Sequence[tuple[float, float]], parameters: PromoteParameters) -> Verdict:
    """Return the verdict on a challenger that is compared with the champion.

    `pairs` is the error table of challenger minus champion (`difference`). `noise_mm` has the MPJPE (mm) of both under
    detector noise, one pair for each windows folder with a measurement.
    """
    differences = estimates(pairs, Resampling(confidence=parameters.confidence))
    return Verdict(tuple(checks(pairs, noise_mm, parameters)), differences)


def checks(pairs: Errors, noise_mm: Sequence[tuple[float, float]], parameters: PromoteParameters) -> Iterator[Check]:
    """Yield the checks of `judge`, the gain first."""
    clips = clip_means(pairs)
    mpjpe = students_interval(clips, "mpjpe_mm", parameters.confidence)
    yield _gain(mpjpe, parameters, "the champion", clips["group"].nunique() == 1)
    yield _no_fewer_right(students_interval(clips, "pck_150", parameters.confidence), parameters)
    joints = {joint: (clips, column) for joint, column in JOINT_COLUMNS.items()}
    yield _no_part_worse("joint", joints, parameters)
    for kind, column in (("action", "action"), ("subject", "group")):
        parts = {str(name): (table, "mpjpe_mm") for name, table in clips.groupby(column)}
        yield _no_part_worse(kind, parts, parameters)
    for of_both in noise_mm:
        yield _no_worse_in_noise(*of_both, parameters)
    if not noise_mm:
        result = "the errors under detector noise were not compared: not evaluated, or evaluated on training subjects"
        yield Check("no worse in noise", True, result)


def refused(reason: str) -> Verdict:
    """Return the verdict on a challenger that is not compared."""
    return Verdict((Check("may compete", False, reason),), None)


def judge_first(pairs: Mapping[str, Errors], parameters: PromoteParameters) -> Verdict:
    """Return the verdict on a challenger without a champion, from its differences to the baselines.

    The challenger must be better than mean depth and linear. It must not be certainly worse than mlp by more than
    `max_regression_mm`: mlp is a network of similar quality with its own training time. `pairs`: baseline ->
    `difference` of the challenger's and the baseline's errors. With few subjects the intervals are over clips, because
    no version is replaced. The baseline with the smallest gain comes first.
    """
    resampling = Resampling(confidence=parameters.confidence)
    gains = {
        name: students_interval(clip_means(errors), "mpjpe_mm", parameters.confidence, resampling.min_people)
        for name, errors in pairs.items()
    }
    by_closeness = sorted(gains, key=lambda name: -gains[name].value)
    checks_of_baselines = tuple(
        (_no_loss if name == "mlp" else _gain)(gains[name], parameters, f"baseline {name}") for name in by_closeness
    )
    return Verdict(checks_of_baselines, estimates(pairs[by_closeness[0]], resampling))


def _gain(estimate: Estimate, parameters: PromoteParameters, other: str, one_subject: bool = False) -> Check:
    certain = estimate.high is not None and estimate.high < -parameters.min_gain_mm
    passed = certain and not (one_subject and estimate.value >= -parameters.one_person_gain_mm)
    worse = estimate.low is not None and estimate.low > 0
    name = "better" if passed else "worse" if worse else "not certainly better"
    result = f"{name} than {other}: {estimate.value:+.2f} mm, {_interval(estimate, parameters)}"
    if one_subject:
        result += f"; a gain of {parameters.one_person_gain_mm:g} mm is required with a single subject"
    elif parameters.min_gain_mm:
        result += f"; a gain of {parameters.min_gain_mm:g} mm is required"
    return Check(f"better than {other}", passed, result)


def _no_loss(estimate: Estimate, parameters: PromoteParameters, other: str) -> Check:
    gain, bound = _gain(estimate, parameters, other), parameters.max_regression_mm
    passed, result = estimate.low is None or estimate.low <= bound, f"{gain.result}; the limit is {bound:+g} mm"
    if passed and not gain.passed:
        numbers = f"{estimate.value:+.2f} mm, {_interval(estimate, parameters)}"
        result = f"not certainly {bound:g} mm worse than {other}: {numbers}"
    return Check(f"not worse than {other}", passed, result)


def _interval(estimate: Estimate, parameters: PromoteParameters) -> str:
    over = f"{estimate.units} {estimate.over}"
    if estimate.interval is None:
        return f"without an interval over {over}"
    low, high = estimate.interval
    return f"{parameters.confidence:.0%} interval [{low:+.2f}, {high:+.2f}] over {over}"


def _no_fewer_right(share: Estimate, parameters: PromoteParameters) -> Check:
    points = share.model_copy(
        update={name: bound * 100 for name in ("value", "low", "high") if (bound := getattr(share, name)) is not None}
    )
    lower = points.high is not None and points.high < -parameters.max_pck_loss
    result = f"PCK@150mm changes by {points.value:+.2f} points, {_interval(points, parameters)}"
    return Check("no fewer joints right", not lower, result)


def _no_part_worse(kind: str, parts: Mapping[str, tuple[pd.DataFrame, str]], parameters: PromoteParameters) -> Check:
    """Check that no part (joint, ...) is certainly worse by more than `max_regression_mm`.

    `parts`: name -> (clip table, error column).
    """
    intervals = {name: students_interval(*part, parameters.confidence) for name, part in parts.items()}
    worse = {name: part for name, part in intervals.items() if (part.low or 0) > parameters.max_regression_mm}
    most = sorted(worse.items(), key=lambda part: -part[1].value)[:5]
    named = ", ".join(f"{name[:40]} {part.value:+.1f} mm" for name, part in most)
    bound = f"certainly worse by more than {parameters.max_regression_mm:g} mm"
    count = f"{len(worse)} {kind}{'s' if len(worse) > 1 else ''}"
    result = f"{count} {bound}: {named}" if worse else f"no {kind} is {bound}"
    return Check(f"no {kind} worse", not worse, result)


def _no_worse_in_noise(challenger_mm: float, champion_mm: float, parameters: PromoteParameters) -> Check:
    change, bound = challenger_mm - champion_mm, parameters.max_noise_loss * champion_mm
    result = f"under detector noise {challenger_mm:.1f} mm, champion {champion_mm:.1f} mm: {change:+.1f} mm"
    return Check("no worse in noise", change <= bound, f"{result}; the limit is {bound:+.1f} mm")
