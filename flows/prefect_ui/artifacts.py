"""What the Prefect UI shows of a stage."""

import platform
from collections.abc import Mapping, Sequence
from typing import Any

from prefect.artifacts import create_link_artifact, create_table_artifact

from data_contracts.report import METHODS, StageResult

DURATIONS_TEXT = "how long each stage took, the last nights"
PLAYING_TEXT = "the worst, the median and the best clip, playing"
LIFTED_TEXT = "the people, 2D beside 3D, playing"


def show_stage(result: StageResult) -> None:
    """A table of a stage's folder, the machine that sees it there, counts and headline statistics."""
    rows = [
        {"what": "folder", "value": result.folder},
        {"what": "host", "value": platform.node()},
        {"what": "cached", "value": str(result.cached)},
    ]
    rows += [{"what": key, "value": _readable(value)} for key, value in result.counts.items()]
    rows += [
        {"what": key, "value": _readable(value)}
        for key, value in result.statistics.items()
        if key not in ("history", "metrics", "intervals", "robustness", "per_group", "datasets", "files", "people")
    ]
    create_table_artifact(table=rows, key=result_key(result.stage), description=f"{result.stage} {result.digest}")


def result_key(stage: str) -> str:
    """Key of the table that `show_stage` makes."""
    return f"{stage}-result"


def show_checks(result: StageResult) -> None:
    """A table of the checks that clips broke, and how many clips broke each; the clips stand in the quarantine file."""
    rows = [{"check": "all kept", "clips": result.counts["clips"]}]
    rows += [{"check": check, "clips": clips} for check, clips in result.statistics["checks_broken"].items()]
    create_table_artifact(
        table=rows, key="ingest-checks", description=f"{result.folder}/quarantine.csv names each clip"
    )


def show_groups(result: StageResult) -> None:
    """A table of what each group brought to its split, with a line for every split as a whole."""
    rows = [
        {"split": split, "group": f"all {len(groups)}", "clips": result.counts["clips"][split], "windows": windows}
        for (split, groups), windows in zip(
            result.statistics["groups"].items(), result.counts["windows"].values(), strict=True
        )
    ]
    rows += [{"group": group, **counts} for group, counts in result.statistics["per_group"].items()]
    create_table_artifact(table=rows, key="convert-groups", description=f"Clips and windows of {result.digest}")


def show_scores(metrics: Mapping[str, Mapping[str, float]], key: str) -> None:
    """A table of the model's scores beside the baselines'."""
    table = [{"method": name, **{k: round(v, 3) for k, v in metrics[name].items()}} for name in METHODS]
    table[0].setdefault("train_minutes", "not known")  # its first row names the columns
    create_table_artifact(table=table, key=key, description="Held-out people; mm, MPJVE in mm per frame.")


def show_people(written: Sequence[Mapping[str, Any]], told: Sequence[Mapping[str, Any]]) -> None:
    """A table of the people who were lifted: where they are, and how they came to their size and place."""
    rows = [
        {
            "person": one["name"],
            "frames": one["frames"],
            "folder": one["folder"],
            "missing": f"{about['missing_share']:.1%}",
            "stature": f"{about['scale']['stature_m']:.2f} m ({about['scale']['from']})",
            "root": about["root"]["from"],
            "camera looks down": f"{about['pitch']['deg']:.1f} +- {about['pitch']['std_deg']:.1f} degrees",
        }
        for one, about in zip(written, told, strict=True)
    ]
    create_table_artifact(table=rows, key="lifted-people", description="Lifted people; metres, z up.")


def show_page(link: str | None, key: str, text: str) -> None:
    """A link to a page that MLflow keeps; nothing where there is none."""
    if link:
        create_link_artifact(link=link, link_text=text, key=key, description=f"{text}: {link}")


def _readable(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_readable(entry)}" for key, entry in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
