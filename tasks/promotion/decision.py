"""A decision about a challenger, as it is kept: an MLflow run of its own, and a tag of every version it is about."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities.model_registry import ModelVersion
from pydantic import BaseModel, ConfigDict, computed_field

from data_contracts.parameters import PromoteParameters
from data_contracts.report import Estimates
from data_contracts.text import markdown_text
from tasks.promotion.comparison import Contenders
from tasks.promotion.rules import Check, Verdict
from tasks.tracking.names import MODEL_NAME, PROMOTION_TAG
from tasks.tracking.runs import connect, log_params, track_decision

DECISION_PAGE, DECISION_FILE = "decision.md", "decision.json"
TAG_LENGTH = 5000  # of a version's tag, in MLflow's SQL stores


class Decision(BaseModel):
    """Whether `version` took the place of `champion` (numbers; none where there was none), why, and on what grounds.

    windows: digest -> the people in them who did not count. differences: challenger less champion, or less the best
    baseline; none where they were not compared. mlflow_run: where it is kept; none where there was nothing to decide.
    """

    model_config = ConfigDict(frozen=True)

    version: int
    champion: int | None
    promoted: bool
    reason: str
    notes: tuple[str, ...]
    checks: tuple[Check, ...]
    windows: dict[str, list[str]]
    differences: Estimates | None
    mlflow_run: str | None = None

    @classmethod
    def of(cls, contenders: Contenders, verdict: Verdict) -> "Decision":
        """What the verdict comes to."""
        return cls(
            version=_number(contenders.challenger),
            champion=_number(contenders.champion) if contenders.champion else None,
            promoted=verdict.promoted,
            reason=verdict.reason,
            notes=contenders.notes,
            checks=verdict.checks,
            windows={ground.windows.name: sorted(ground.left_out) for ground in contenders.grounds},
            differences=verdict.differences,
        )

    @computed_field  # type: ignore[prop-decorator]
    @property
    def headline(self) -> str:
        """One line: what came of whom, and the first reason."""
        over = f" over version {self.champion}" if self.champion not in (None, self.version) else ""
        failed = [check.said for check in self.checks if not check.passed]
        why = failed[0] if failed else self.reason
        more = f" ({len(failed) - 1} more checks failed)" if failed[1:] else ""
        return f"{'promoted' if self.promoted else 'not promoted'}: version {self.version}{over}, {why}{more}"

    def markdown(self) -> str:
        """The decision as a person reads it."""
        lines = [f"# {markdown_text(self.headline[0].upper() + self.headline[1:])}", ""]
        lines += ["| check | | what it showed |", "|---|---|---|"]
        for check in self.checks:
            passed = "passed" if check.passed else "**failed**"
            lines.append(f"| {markdown_text(check.name)} | {passed} | {markdown_text(check.said)} |")
        lines += ["", *(f"- {markdown_text(note)}" for note in self.notes)]
        lines += [f"- they met on windows `{digest}`" for digest in self.windows]
        return "\n".join(lines) + "\n"


def write_down(
    store: Path, decision: Decision, versions: list[ModelVersion], parameters: PromoteParameters
) -> Decision:
    """Keep a decision in an MLflow run, with all its numbers, and in a tag of each version; returns it with the run.

    Each comparison has a tag of its own, as `promotion.3-1`; the newest is in plain tags too.
    """
    rival = decision.champion or "baselines"
    about = f"{decision.version}-{rival}"
    tags = {"promotion.promoted": str(decision.promoted), "promotion.reason": decision.reason[:TAG_LENGTH]}
    name = f"promote {decision.version} over {rival} {time.strftime('%Y-%m-%d %H:%M', time.gmtime())}"
    with track_decision(store, "promote", name, {PROMOTION_TAG: about, **tags}) as tracked:
        decision = decision.model_copy(update={"mlflow_run": tracked.run_id})
        log_params(tracked.client, tracked.run_id, {"promote": parameters.model_dump(mode="json")})
        if decision.differences:
            tracked.log_metrics(_differences(decision.differences))
        tracked.client.log_text(tracked.run_id, decision.markdown(), DECISION_PAGE)
        tracked.client.log_dict(tracked.run_id, decision.model_dump(mode="json"), DECISION_FILE)
    client = connect(store)
    said = {"at": datetime.now(UTC).isoformat(timespec="seconds"), **_brief(decision)}
    for version in versions:
        for key, value in {f"promotion.{about}": json.dumps(said), **tags}.items():
            client.set_model_version_tag(MODEL_NAME, version.version, key, value)
    return decision


def read_decision(store: Path, mlflow_run: str) -> Decision:
    """Return the decision that `write_down` kept in an MLflow run.

    Raises
    ------
    MlflowException
        The tracking store did not answer, or the run has no decision.
    """
    connect(store)
    return Decision.model_validate(mlflow.artifacts.load_dict(f"runs:/{mlflow_run}/{DECISION_FILE}"))


def _brief(decision: Decision) -> dict[str, Any]:
    """What a tag has room for; checks and numbers are in the run."""
    brief = decision.model_dump(include={"version", "champion", "promoted", "reason", "mlflow_run"})
    return brief | {"reason": decision.reason[: TAG_LENGTH // 2]}


def _differences(found: Estimates) -> dict[str, float]:
    named = {f"difference/{name}": estimate.value for name, estimate in found.metrics().items()}
    bounds = zip(("low", "high"), found.mpjpe_mm.interval or (), strict=False)
    return named | {f"difference/mpjpe_mm_{name}": bound for name, bound in bounds}


def _number(uri: str) -> int:
    return int(uri.rpartition("/")[2])
