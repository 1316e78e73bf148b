"""Whether a challenger is better than the champion: what is asked of it, and what it showed, in words and numbers.

Notable decisions:
- models meet window by window, and people are drawn again, not windows: what a model does to one person it does to all
  of that person's clips. The whole interval of the difference has to lie below the gain that is asked for;
- a single clip has no interval, and nothing is certain of it;
- with fewer than `Resampling.min_people` people, clips are drawn, which says nothing of the next person. So more is
  asked for: half of Student's interval over the people there are, which is wide. Of one person alone nothing is known
  of others; `one_person_gain_mm` is asked for;
- a mean hides who pays for it: no joint, action or person that was seen in enough windows may lose much, neither the
  share of joints that are right nor the error under a detector's noise may grow worse.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import pandas as pd

from data_contracts.parameters import PromoteParameters
from data_contracts.report import Estimate, Estimates, Resampling
from model.scoring.intervals import estimates, students_t

Errors = pd.DataFrame  # of `data_contracts.report.read_errors`


@dataclass(frozen=True)
class Check:
    """One thing that is asked of a challenger, and what it showed."""

    name: str
    passed: bool
    said: str


@dataclass(frozen=True)
class Verdict:
    """All checks; `differences`: challenger less champion, or less the best baseline where there is no champion.

    Of what was not compared there are none.
    """

    checks: tuple[Check, ...]
    differences: Estimates | None

    @property
    def promoted(self) -> bool:
        """Whether every check is passed."""
        return all(check.passed for check in self.checks)

    @property
    def reason(self) -> str:
        """A sentence: what it gains, or what speaks against it."""
        against = [check.said for check in self.checks if not check.passed]
        return "; ".join(against or [self.checks[0].said])


def judge(pairs: Errors, noise_mm: Sequence[tuple[float, float]], parameters: PromoteParameters) -> Verdict:
    """The challenger against the champion.

    Parameters
    ----------
    pairs
        `difference` of the challenger's errors and the champion's.
    noise_mm
        MPJPE of each under a detector's noise, of each windows folder where it can be compared.
    """
    found = estimates(pairs, resampling_of(parameters))
    few = _asked_of_few(pairs, parameters)
    checks = [
        _gain(found.mpjpe_mm, parameters, "the champion", *few),
        _no_fewer_right(found),
        *_no_part_worse(found, parameters),
        *(_no_worse_in_noise(*of_both, parameters) for of_both in noise_mm),
    ]
    if not noise_mm:
        said = "under a detector's noise they were not compared: not scored, or on people that one learned from"
        checks.append(Check("no worse in noise", True, said))
    return Verdict(tuple(checks), found)


def refused(reason: str) -> Verdict:
    """Of a challenger that is not compared."""
    return Verdict((Check("may compete", False, reason),), None)


def resampling_of(parameters: PromoteParameters) -> Resampling:
    """How its intervals are made."""
    return Resampling(confidence=parameters.confidence, resamples=parameters.resamples, seed=parameters.seed)


def judge_first(pairs: Mapping[str, Errors], parameters: PromoteParameters) -> Verdict:
    """A challenger without a champion, against every baseline: `difference` of its errors and theirs, by name.

    The closest comes first. The interval alone counts here, over clips where there are few people: nobody is displaced.
    """
    found = {name: estimates(errors, resampling_of(parameters)) for name, errors in pairs.items()}
    by_closeness = sorted(found.items(), key=lambda named: -named[1].mpjpe_mm.value)
    checks = tuple(_gain(each.mpjpe_mm, parameters, f"baseline {name}") for name, each in by_closeness)
    return Verdict(checks, by_closeness[0][1])


def _gain(found: Estimate, parameters: PromoteParameters, rival: str, more: float = 0.0, why: str = "") -> Check:
    asked = parameters.min_gain_mm + more
    passed = found.high is not None and found.high < -parameters.min_gain_mm and found.value < -asked
    asks = f"; {asked:.2f} mm are asked for{why}" if asked else ""
    interval = ", without an interval"
    if found.interval is not None:
        low, high = found.interval
        interval = f", {parameters.confidence:.0%} interval [{low:+.2f}, {high:+.2f}]"
    worse = found.low is not None and found.low > 0
    certain = "better" if passed else "worse" if worse else "not certainly better"
    return Check(
        f"better than {rival}",
        passed,
        f"{certain} than {rival}: {found.value:+.2f} mm{interval} over {found.units} {found.over}{asks}",
    )


def _asked_of_few(pairs: Errors, parameters: PromoteParameters) -> tuple[float, str]:
    """What is asked for beside the interval, where there are few people, mm; and why."""
    sums = pairs.assign(sum=pairs["mpjpe_mm"] * pairs["weight"]).groupby("group")[["sum", "weight"]].sum()
    people = (sums["sum"] / sums["weight"]).to_numpy()
    if len(people) >= resampling_of(parameters).min_people:
        return 0.0, ""
    if len(people) == 1:
        return parameters.one_person_gain_mm, " of a single person"
    half = students_t(parameters.confidence, len(people) - 1) * people.std(ddof=1) / sqrt(len(people))
    return float(half), f" of {len(people)} people who differ so"


def _no_fewer_right(found: Estimates) -> Check:
    change = 100 * found.pck_150.value
    return Check("no fewer joints right", change >= 0, f"PCK@150mm changes by {change:+.2f} points")


def _no_part_worse(found: Estimates, parameters: PromoteParameters) -> list[Check]:
    parts = {"joint": found.per_joint_mm, "action": found.per_action_mm, "person": found.per_group_mm}
    checks = []
    for kind, table in parts.items():
        worse = {
            name: part.value
            for name, part in table.items()
            if part.windows >= parameters.min_windows and part.value > parameters.max_regression_mm
        }
        most = sorted(worse.items(), key=lambda part: -part[1])[:5]
        named = ", ".join(f"{name[:40]} {value:+.1f} mm" for name, value in most)
        bound = f"worse by more than {parameters.max_regression_mm:g} mm"
        said = f"{len(worse)} {'people' if kind == 'person' else f'{kind}s'} {bound}: {named}"
        checks.append(Check(f"no {kind} worse", not worse, said if worse else f"no {kind} is {bound}"))
    return checks


def _no_worse_in_noise(challenger_mm: float, champion_mm: float, parameters: PromoteParameters) -> Check:
    change = challenger_mm - champion_mm
    return Check(
        "no worse in noise",
        change <= parameters.max_noise_loss_mm,
        f"under a detector's noise {challenger_mm:.1f} mm against {champion_mm:.1f}: {change:+.1f} mm, and"
        f" {parameters.max_noise_loss_mm:+g} may be",
    )
