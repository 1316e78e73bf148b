"""The model card of a version, in markdown, from the manifests of its stages and its evaluation report.

Text from users (files, actions, parameters, licence) is escaped by `markdown_text` and is never in a code span.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.entities.model_registry import ModelVersion

from data_contracts.labelled_scores import MEAN
from data_contracts.motion.video_scores import VideoScores
from data_contracts.parameters.presets import flatten, nearest_preset
from data_contracts.report import METHODS, ROBUSTNESS_METHODS, Report, read_report
from data_contracts.store.lineage import FinishedStages, TrainingData, data_of_weights
from data_contracts.store.manifests import PACKAGES, describe_code, read_manifest
from data_contracts.text import markdown_text
from tasks.tracking.names import CHECKPOINT_TAG
from tasks.tracking.registry import uses_flip, version_uri

CARD_FILE = "card.md"
MAX_CHARACTERS = 5000  # of a description in MLflow's databases
SPLITS = ("train", "val", "test")
NOT_KNOWN = "not known here"
_SPACE = "&emsp;"  # MLflow displays table cells without padding and removes spaces


@dataclass(frozen=True)
class _Origin:
    """Manifests of the stages behind a version; a missing manifest is None."""

    tuned: dict[str, Any] | None
    pretrained: dict[str, Any] | None
    windows: dict[str, Any] | None
    clips: dict[str, Any] | None
    data: TrainingData

    @classmethod
    def of(cls, store: Path, version: ModelVersion) -> "_Origin":
        stages, weights = FinishedStages(store), version.tags.get(CHECKPOINT_TAG, "")
        runs = {run["stage"]: run for run in reversed(list(stages.runs(weights)))}
        newest = stages.find(weights)
        windows = stages.find(newest["inputs"]["windows"]) if newest else None
        clips = stages.find(windows["inputs"]["clips"]) if windows else None
        return cls(runs.get("finetune"), runs.get("pretrain"), windows, clips, data_of_weights(stages, weights))


def write_card(store: Path, version: ModelVersion, report: Path, licence: str | None) -> str:
    """Return the card of a version from its report folder; `licence` replaces the licence that ingest recorded."""
    origin, scores = _Origin.of(store, version), read_manifest(report)
    sections = [
        _summary(version, origin),
        _how_to_load(version),
        _limits(origin, read_report(report)),
        _scores(scores),
        _robustness(scores["statistics"].get("robustness")),
        _real_video(read_report(report)),
        _data(origin, licence),
        _recipe(origin),
        _provenance(origin),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def description_of(card: str) -> str:
    """Return the first sections of a card that fit into MLflow's description of a version."""
    if len(card) <= MAX_CHARACTERS:
        return card
    rest = f"\n\nThe other sections are in `{CARD_FILE}` of the pipeline run.\n"
    return card[: card.rindex("\n\n## ", 0, MAX_CHARACTERS - len(rest))] + rest


def _summary(version: ModelVersion, origin: _Origin) -> str:
    size = f"{origin.tuned['counts']['parameters']:,} parameters, " if origin.tuned else ""
    windows = f"windows of {origin.windows['parameters']['window']} frames" if origin.windows else "windows"
    return (
        f"# {version.name}, version {version.version}\n\nThis model lifts 2D poses of one person to 3D ({size}input:"
        f" {windows} of 17 joints (Human3.6M); output: poses relative to the pelvis)."
    )


def _how_to_load(version: ModelVersion) -> str:
    flip = "with" if uses_flip(version) else "without"
    uri = version_uri(version)
    return (
        "## How to load\n\n```python\nimport mlflow\n"
        f'lifter = mlflow.pyfunc.load_model("{uri}")\n'
        "# float32 (N, frames, 17, 3), x right, y down, confidence -> x right, y down, z forward\n"
        "pose_3d = lifter.predict(pose_2d)\n```\n\n"
        f"Loading does not unpickle anything. The model predicts {flip} flip averaging, as it was evaluated. "
        f"Without Python: `uplift export {uri} --onnx`."
    )


def _scores(report: Mapping[str, Any]) -> str:
    statistics, columns = report["statistics"], ("mpjpe_mm", "p_mpjpe_mm", "pck_150", "mpjve_mm")

    def row(method: str) -> list[str]:
        scores, bounds = statistics["metrics"][method], statistics["intervals"][method]
        return [method.replace("_", " "), *(_score(name, scores, bounds) for name in columns)]

    table = _table(
        ["", "MPJPE, mm", "P-MPJPE, mm", "PCK@150, %", "MPJVE, mm per frame"], [row(method) for method in METHODS]
    )
    split, windows = report["parameters"]["split"], report["counts"]["windows"]
    over = f"intervals of 95 %, over {statistics['resampled']}"
    return f"## Scores\n\nOn subjects that were not in training ({split}, {windows:,} windows; {over}):\n\n{table}"


def _score(name: str, scores: Mapping[str, float], intervals: Mapping[str, tuple[float, float]]) -> str:
    factor = 100 if name.startswith("pck") else 1
    text = f"{factor * scores[name]:.1f}"
    if name in intervals:
        low, high = intervals[name]
        text += f" [{factor * low:.1f}, {factor * high:.1f}]"
    return text


def _robustness(robustness: Mapping[str, Any] | None) -> str:
    if not robustness:
        return ""
    rows = [
        [condition, *(f"{errors[method]:.1f}" for method in ROBUSTNESS_METHODS)]
        for condition, errors in robustness["mpjpe_mm"].items()
    ]
    table = _table(["2D input", *ROBUSTNESS_METHODS], rows)
    return (
        f"## Robustness\n\nMPJPE in mm on {robustness['windows']:,} windows with simulated detector errors:\n\n{table}"
    )


def _real_video(report: Report) -> str:
    if not report.real_video:
        return ""
    cells = [clips[MEAN].cells() for clips in report.real_video.values()]
    rows = [list(row) for row in zip(VideoScores.titles().values(), *cells, strict=True)]
    clips = len(report.real_video["model"]) - 1
    return (
        f"## Real video\n\nMeans of {clips} clips with marker truth, errors in mm. *detector*: the detector's own 3D;"
        f" *markers*: the truth itself.\n\n{_table(['', *report.real_video], rows)}"
    )


def _data(origin: _Origin, licence: str | None) -> str:
    lines = [] if origin.windows else [f"Windows: {NOT_KNOWN}."]
    if origin.windows:
        counts, groups = origin.windows["counts"], origin.windows["statistics"]["groups"]
        of_groups = origin.windows["statistics"]["per_group"].values()
        frames = (sum(one["frames"] for one in of_groups if one["split"] == split) for split in SPLITS)
        rows = [["groups", *(str(len(groups.get(split, []))) for split in SPLITS)]]
        rows += [[name, *(f"{counts[name].get(split, 0):,}" for split in SPLITS)] for name in ("clips", "windows")]
        rows.insert(2, ["frames", *(f"{number:,}" for number in frames)])
        lines.append(_table(["", *SPLITS], rows))
    if origin.clips:
        statistics = origin.clips["statistics"]
        licence = licence or statistics.get("licence")
        stature = statistics.get("stature_m")
        tall = f", {stature['min']:.2f} to {stature['max']:.2f} m tall along the bones" if stature else ""
        source = markdown_text(statistics["source"])
        lines.append(f"Motion of {source}; each group is one {origin.clips['parameters']['group_by']}{tall}.")
    lines.append(f"Licence of the data: {markdown_text(licence) if licence else 'not set (`ingest.licence`)'}.")
    return "## Data\n\n" + "\n\n".join(lines)


def _limits(origin: _Origin, report: Report) -> str:
    limits = []
    if origin.data.synthetic:
        limits.append("The motion is synthetic, so the scores do not apply to real people.")
    errors = {name: scores.mpjpe_mm.value for name, scores in report.methods().items()}
    if ahead := [name for name in METHODS[1:] if errors[name] <= errors["model"]]:
        limits.append(f"Baselines with a lower or equal MPJPE: {', '.join(ahead).replace('_', ' ')}.")
    if origin.windows:
        cameras = origin.windows["parameters"]
        limits.append(
            f"The cameras of the windows are {cameras['projection']}, with a pitch of at most"
            f" {cameras['max_pitch_deg']:g} degrees."
        )
        groups = len(origin.windows["statistics"]["groups"].get("test", []))
        limits += [f"The test split has only {groups} group(s); scores on others may differ."] if groups < 5 else []
    for kind, table in (("action", report.model.per_action_mm), ("joint", report.model.per_joint_mm)):
        worst, error = max(table.items(), key=lambda entry: entry[1].value)
        limits.append(f"Worst {kind}: {markdown_text(worst.replace('_', ' '))}, {error.value:.1f} mm.")
    limits.append("Poses have the scale of the 2D input; metres need the person's height or the scale of the window.")
    return "## Limits\n\n" + "\n".join(f"- {limit}" for limit in limits)


def _recipe(origin: _Origin) -> str:
    lines = []
    for stage, manifest in (("pretrain", origin.pretrained), ("finetune", origin.tuned)):
        if manifest is None:
            lines.append(f"**{stage}**: {NOT_KNOWN}.")
            continue
        preset, changed = nearest_preset(manifest["parameters"], stage)
        statistics, epochs = manifest["statistics"], manifest["counts"]["epochs"]
        trained = f"{epochs} epochs in {manifest['seconds'] / 60:.1f} minutes, best epoch {statistics['best_epoch']}"
        lines.append(f"**{stage}**: preset `{preset}`; {trained}.{' Changes to the preset:' if changed else ''}")
        if changed:
            own = flatten(manifest["parameters"])
            rows = [[f"`{path}`", markdown_text(theirs), markdown_text(own[path])] for path, theirs in changed.items()]
            lines.append(_table(["parameter", "preset", "this model"], rows))
    return "## Recipe\n\n" + "\n\n".join(lines)


def _provenance(origin: _Origin) -> str:
    manifests = {"finetune": origin.tuned, "pretrain": origin.pretrained}
    manifests |= {"convert": origin.windows, "ingest": origin.clips}
    lines = []
    for stage, manifest in manifests.items():
        code = markdown_text(describe_code(manifest.get("code", {}))) if manifest else ""
        lines.append(f"- {stage} `{manifest['digest']}`, {code}" if manifest else f"- {stage}: {NOT_KNOWN}")
    inputs = origin.clips["inputs"] if origin.clips else {}
    lines += [f"- {markdown_text(name)} `{digest}`" for name, digest in inputs.items()]
    packages = (origin.tuned or {}).get("packages", {})
    versions = ", ".join(f"{name} {packages[name]}" for name in ("python", *PACKAGES) if name in packages)
    return "## Provenance\n\n" + "\n".join(lines) + (f"\n\n{versions}" if versions else "")


def _table(head: list[str], rows: list[list[str]]) -> str:
    rule = ["---", *["---:"] * (len(head) - 1)]
    spaced = [[row[0], *(f"{_SPACE}{cell}" for cell in row[1:])] for row in (head, *rows)]
    spaced.insert(1, rule)
    return "\n".join(f"| {' | '.join(row)} |" for row in spaced)
