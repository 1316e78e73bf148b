"""Artifacts (tables and links) that flows show in the Prefect UI."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from prefect import runtime
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_UI_URL

from data_contracts.report import METHODS, counts_text
from data_contracts.store.folders import StageResult
from data_contracts.text import markdown_text, printable

# texts of links; the card of an artifact shows about 40 characters
DURATIONS_TEXT = "minutes per stage, the last pipeline runs"
PLAYING_TEXT = "viewer: worst, median and best clip"
LIFTED_TEXT = "viewer: the people in 2D and 3D"
_LONG = (
    *("history", "metrics", "intervals", "robustness", "real_video"),
    *("per_group", "datasets", "files", "people", "training_data"),
)


def show_stage(result: StageResult) -> None:
    """Show a table with the folder of a stage, the machine that wrote it, its counts and its short statistics."""
    rows = [
        {"what": "folder", "value": printable(result.folder)},
        {"what": "host", "value": platform.node()},
        {"what": "cached", "value": str(result.cached)},
    ]
    numbers = result.counts | {key: value for key, value in result.statistics.items() if key not in _LONG}
    rows += [{"what": key, "value": _readable(value)} for key, value in numbers.items()]
    create_table_artifact(table=rows, key=result_key(result.stage), description=f"{result.stage} {result.digest}")


def result_key(stage: str) -> str:
    """Return the key of the table that `show_stage` creates."""
    return f"{stage}-result"


def show_groups(result: StageResult) -> None:
    """Show the numbers of clips and windows of each split and each group of a convert stage."""
    rows = [
        {"split": split, "group": f"all {len(groups)}", "clips": result.counts["clips"][split], "windows": windows}
        for (split, groups), windows in zip(
            result.statistics["groups"].items(), result.counts["windows"].values(), strict=True
        )
    ]
    rows += [{"group": printable(group), **counts} for group, counts in result.statistics["per_group"].items()]
    create_table_artifact(table=rows, key="convert-groups", description=f"Clips and windows of {result.digest}")


def show_pipeline_run(
    summary: UUID,
    headline: str,
    stages: Mapping[str, StageResult],
    links: Mapping[str, str | None],
    introduction: str = "",
) -> None:
    """Write into the summary of a pipeline run: a headline, a row per stage, and the links that are not None."""
    lines = [introduction, ""] if introduction else []
    if stages:
        lines += ["| stage | minutes | content | folder |", "|---|--:|---|---|"]
    for name, result in stages.items():
        minutes = "cached" if result.cached else f"{result.seconds / 60:.1f}"
        counts = counts_text(result.counts, result.statistics)
        lines.append(f"| {name} | {minutes} | {counts} | `{result.path.parent.name}/{result.digest}` |")
    lines += ["", *(f"- [{text}]({link})" for text, link in links.items() if link)]
    content = ArtifactUpdate(data="\n".join(lines) + "\n", description=markdown_text(headline))
    with get_client(sync_client=True) as client:
        client.update_artifact(summary, content)


@contextmanager
def pipeline_summary(stages: Mapping[str, StageResult]) -> Iterator[UUID]:
    """Create the summary of a pipeline run and yield the artifact's id; a deployment's run logs the summary's address.

    If the pipeline run fails, the summary shows its error, its completed stages and how to continue.
    """
    first_text = "The pipeline run has not ended."
    summary: Any = create_markdown_artifact(first_text, key="pipeline-summary", description="running")
    if runtime.deployment.id:
        get_run_logger().info(f"summary: {PREFECT_UI_URL.value()}/artifacts/artifact/{summary}")
    try:
        yield summary
    except Exception as error:
        headline = " ".join(f"failed: {type(error).__name__}: {error}".split())
        introduction = "The store keeps the completed stages, and the next pipeline run continues from them."
        if runtime.deployment.id:
            introduction += f" To continue this run: `prefect flow-run retry {runtime.flow_run.id}`."
        try:
            show_pipeline_run(summary, headline, stages, {}, introduction)
        except Exception as artifact_error:  # the caller gets the first error
            get_run_logger().warning(f"Prefect did not store the summary of the pipeline run: {artifact_error!r:.200}")
        raise


def show_scores(metrics: Mapping[str, Mapping[str, float]], key: str) -> None:
    """Show a table with the scores of the model and of the baselines."""
    table = [{"method": name, **{k: round(v, 3) for k, v in metrics[name].items()}} for name in METHODS]
    table[0].setdefault("train_minutes", "not known")  # the first row names the columns
    create_table_artifact(table=table, key=key, description="held-out people, mm; mpjve per frame")


def show_people(written: Sequence[Mapping[str, Any]], statistics: Sequence[Mapping[str, Any]]) -> None:
    """Show a table of the people in `written` (from `write_people`), with their statistics from the lift stage."""
    rows = [
        {
            "person": printable(person["name"]),
            "frames": person["frames"],
            "folder": printable(person["folder"]),
            "missing": f"{about['missing_share']:.1%}",
            "stature": f"{about['scale']['stature_m']:.2f} m ({about['scale']['from']})",
            "root": about["root"]["from"],
            "camera looks down": f"{about['pitch']['deg']:.1f} +- {about['pitch']['std_deg']:.1f} degrees",
        }
        for person, about in zip(written, statistics, strict=True)
    ]
    create_table_artifact(table=rows, key="lifted-people", description="Lifted people; metres, z up.")


def show_page(link: str | None, key: str, text: str, picture: str | None = None) -> None:
    """Show a link to a page in MLflow, below the image `picture` if there is one; if `link` is None, show nothing."""
    if link:
        linked = f"[{text}]({link})"  # Prefect draws no picture inside a link
        create_markdown_artifact(f"![{text}]({picture})" if picture else linked, key=key, description=linked)


def _readable(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{printable(key)}: {_readable(entry)}" for key, entry in value.items())
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else printable(value)
