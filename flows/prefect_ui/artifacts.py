"""What the Prefect UI shows of a stage."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import runtime
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.logging import get_run_logger

from data_contracts.report import METHODS, StageResult
from data_contracts.text import markdown_text, printable

# what a card has room for, which is the first that one sees of an artifact
DATA_TEXT = "clips beside the champion's"
DURATIONS_TEXT = "minutes per stage, the last nights"
PLAYING_TEXT = "worst, median and best clip, playing"
LIFTED_TEXT = "the people, 2D beside 3D, playing"
_COUNTED = ("clips", "quarantined", "windows", "epochs", "bad_steps", "steps")  # of a stage, in a night's summary


def show_stage(result: StageResult) -> None:
    """A table of a stage's folder, the machine that sees it there, counts and headline statistics."""
    rows = [
        {"what": "folder", "value": printable(result.folder)},
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
    rows += [{"check": printable(check), "clips": clips} for check, clips in result.statistics["checks_broken"].items()]
    create_table_artifact(
        table=rows, key="ingest-checks", description=f"{markdown_text(result.folder)}/quarantine.csv names each clip"
    )


def show_groups(result: StageResult) -> None:
    """A table of what each group brought to its split, with a line for every split as a whole."""
    rows = [
        {"split": split, "group": f"all {len(groups)}", "clips": result.counts["clips"][split], "windows": windows}
        for (split, groups), windows in zip(
            result.statistics["groups"].items(), result.counts["windows"].values(), strict=True
        )
    ]
    rows += [{"group": printable(group), **counts} for group, counts in result.statistics["per_group"].items()]
    create_table_artifact(table=rows, key="convert-groups", description=f"Clips and windows of {result.digest}")


def show_night(
    headline: str, stages: Mapping[str, StageResult], links: Mapping[str, str | None], first: str = ""
) -> None:
    """What came of a night, in a line; a row for every stage; and where to look further, as far as that is known.

    Parameters
    ----------
    first
        What is to be read before the rows.
    """
    lines = [first, ""] if first else []
    if stages:
        lines += ["| stage | minutes | what is there | folder |", "|---|--:|---|---|"]
    for name, result in stages.items():
        took = "cached" if result.cached else f"{result.seconds / 60:.1f}"
        lines.append(
            f"| {name} | {took} | {_in_words(result.counts)} | `{Path(result.folder).parent.name}/{result.digest}` |"
        )
    lines += ["", *(f"- [{text}]({link})" for text, link in links.items() if link)]
    create_markdown_artifact("\n".join(lines) + "\n", key="pipeline-summary", description=markdown_text(headline))


@contextmanager
def shown_if_it_fails(stages: Mapping[str, StageResult]) -> Iterator[None]:
    """Where a night fails: why, in a line, what it has done by then, and how it goes on from there."""
    try:
        yield
    except Exception as error:
        why = " ".join(f"failed: {type(error).__name__}: {error}".split())
        again = "What is done stays in the store, and the next night goes on from it"
        if runtime.deployment.id:
            again += f"; so does `prefect flow-run retry {runtime.flow_run.id}`"
        try:
            show_night(why, stages, {}, f"{again}.")
        except Exception as unseen:  # the first one is what is to be told
            get_run_logger().warning(f"the night's summary could not be shown: {unseen!r:.200}")
        raise


def show_scores(metrics: Mapping[str, Mapping[str, float]], key: str) -> None:
    """A table of the model's scores beside the baselines'."""
    table = [{"method": name, **{k: round(v, 3) for k, v in metrics[name].items()}} for name in METHODS]
    table[0].setdefault("train_minutes", "not known")  # its first row names the columns
    create_table_artifact(table=table, key=key, description="held-out people, mm; mpjve per frame")


def show_people(written: Sequence[Mapping[str, Any]], told: Sequence[Mapping[str, Any]]) -> None:
    """A table of the people who were lifted: where they are, and how they came to their size and place."""
    rows = [
        {
            "person": printable(one["name"]),
            "frames": one["frames"],
            "folder": printable(one["folder"]),
            "missing": f"{about['missing_share']:.1%}",
            "stature": f"{about['scale']['stature_m']:.2f} m ({about['scale']['from']})",
            "root": about["root"]["from"],
            "camera looks down": f"{about['pitch']['deg']:.1f} +- {about['pitch']['std_deg']:.1f} degrees",
        }
        for one, about in zip(written, told, strict=True)
    ]
    create_table_artifact(table=rows, key="lifted-people", description="Lifted people; metres, z up.")


def show_page(link: str | None, key: str, text: str, picture: str | None = None) -> None:
    """A link to a page that MLflow keeps, over its picture, if it is one; nothing where there is none."""
    if link:
        linked = f"[{text}]({link})"  # a card shows it; the page has it above its text, and draws no picture in a link
        create_markdown_artifact(f"![{text}]({picture})" if picture else linked, key=key, description=linked)


def _readable(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{printable(key)}: {_readable(entry)}" for key, entry in value.items())
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else printable(value)


def _in_words(counts: Mapping[str, Any]) -> str:
    """`84 clips, 0 quarantined`; counted by split, `windows: 1,789 train, 388 val`: as much as a cell has room for."""
    counted = {key: counts[key] for key in _COUNTED if key in counts}
    if isinstance(windows := counted.get("windows"), Mapping):
        return "windows: " + ", ".join(f"{number:,} {split}" for split, number in windows.items())
    return ", ".join(f"{number:,} {key.replace('_', ' ')}" for key, number in counted.items())
