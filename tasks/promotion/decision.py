"""Decisions of promotions: each is stored as an MLflow run, and its result as a tag of the challenger."""

from pathlib import Path

import mlflow
from pydantic import BaseModel, ConfigDict, computed_field

from data_contracts.parameters import PromoteParameters
from data_contracts.report import Estimates
from data_contracts.store.run_names import run_name
from data_contracts.text import markdown_text
from tasks.promotion.comparison import Comparison
from tasks.promotion.rules import Check, Verdict
from tasks.tracking.names import DECISION_TAG, MODEL_NAME, PROMOTION_TAG
from tasks.tracking.runs import connect, log_params, track_decision
from tasks.tracking.scores import metrics_with_interval

DECISION_PAGE, DECISION_FILE = "decision.md", "decision.json"
TAG_LENGTH = 5000  # longest tag of a version in MLflow's SQL stores


class Decision(BaseModel):
    """Decision whether `version` replaces `champion`, with the reason.

    Attributes
    ----------
    windows
        Digest of windows -> subjects in these windows that were excluded from the scores.
    differences
        Score differences: challenger minus champion, or minus the best baseline; None without a comparison.
    mlflow_run
        Id of the MLflow run with the decision; None if the challenger is already the champion.
    """

    model_config = ConfigDict(frozen=True, serialize_by_alias=True)

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
    def of(cls, comparison: Comparison, verdict: Verdict) -> "Decision":
        """Return the decision that follows from a verdict."""
        return cls(
            version=_number(comparison.challenger),
            champion=_number(comparison.champion) if comparison.champion else None,
            promoted=verdict.promoted,
            reason=verdict.reason,
            notes=comparison.notes,
            checks=verdict.checks,
            windows={data.windows.name: sorted(data.excluded) for data in comparison.data},
            differences=verdict.differences,
        )

    @computed_field  # type: ignore[prop-decorator]
    @property
    def headline(self) -> str:
        """One line: the decision, the versions and the first reason."""
        over = f" over version {self.champion}" if self.champion not in (None, self.version) else ""
        failed = [check.result for check in self.checks if not check.passed]
        reason = failed[0] if failed else self.reason
        more = f" ({len(failed) - 1} more checks failed)" if failed[1:] else ""
        return f"{'promoted' if self.promoted else 'not promoted'}: version {self.version}{over}, {reason}{more}"

    def markdown(self) -> str:
        """Return the decision as a markdown page."""
        lines = [f"# {markdown_text(self.headline[0].upper() + self.headline[1:])}", ""]
        lines += ["| check | | result |", "|---|---|---|"]
        for check in self.checks:
            passed = "passed" if check.passed else "**failed**"
            lines.append(f"| {markdown_text(check.name)} | {passed} | {markdown_text(check.result)} |")
        lines += ["", *(f"- {markdown_text(note)}" for note in self.notes)]
        lines += [f"- evaluated on windows `{digest}`" for digest in self.windows]
        return "\n".join(lines) + "\n"


def record_decision(store: Path, decision: Decision, parameters: PromoteParameters) -> Decision:
    """Write a decision to an MLflow run and to a tag of the challenger; return the decision with the run id."""
    compared = decision.champion or "baselines"
    versions_key = f"{decision.version}-{compared}"
    tags = {"promotion.promoted": str(decision.promoted), "promotion.reason": decision.reason[:TAG_LENGTH]}
    name = run_name(f"promote {decision.version} over {compared}")
    with track_decision(store, "promote", name, {PROMOTION_TAG: versions_key, **tags}) as tracked:
        decision = decision.model_copy(update={"mlflow_run": tracked.run_id})
        log_params(tracked.client, tracked.run_id, {"promote": parameters.model_dump(mode="json")})
        if decision.differences:
            tracked.log_metrics(metrics_with_interval(decision.differences, "difference"))
        tracked.client.log_text(tracked.run_id, decision.markdown(), DECISION_PAGE)
        tracked.client.log_dict(tracked.run_id, decision.model_dump(mode="json"), DECISION_FILE)
    text = f"{'promoted' if decision.promoted else 'not promoted'} over {compared}: {decision.reason}"[:TAG_LENGTH]
    connect(store).set_model_version_tag(MODEL_NAME, str(decision.version), DECISION_TAG, text)
    return decision


def read_decision(store: Path, mlflow_run: str) -> Decision:
    """Return the decision that `record_decision` wrote to an MLflow run."""
    connect(store)
    return Decision.model_validate(mlflow.artifacts.load_dict(f"runs:/{mlflow_run}/{DECISION_FILE}"))


def _number(uri: str) -> int:
    return int(uri.rpartition("/")[2])
