"""What the Prefect UI shows of a stage."""

from collections.abc import Mapping
from typing import Any

from prefect.artifacts import create_table_artifact

from data_contracts.report import METHODS, StageResult


def show_stage(result: StageResult) -> None:
    """A table of a stage's folder, counts and headline statistics."""
    rows = [{"what": "folder", "value": result.folder}, {"what": "cached", "value": str(result.cached)}]
    rows += [{"what": key, "value": _readable(value)} for key, value in result.counts.items()]
    rows += [
        {"what": key, "value": _readable(value)}
        for key, value in result.statistics.items()
        if key not in ("history", "metrics")
    ]
    create_table_artifact(table=rows, key=f"{result.stage}-result", description=f"{result.stage} {result.digest}")


def show_scores(metrics: Mapping[str, Mapping[str, float]], key: str) -> None:
    """A table of the model's scores beside the baselines'."""
    table = [{"method": name, **{k: round(v, 3) for k, v in metrics[name].items()}} for name in METHODS]
    create_table_artifact(table=table, key=key, description="Held-out people; lengths in millimetres.")


def _readable(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_readable(entry)}" for key, entry in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
