"""Training subjects of a model version, and whether it was trained on synthetic motion.

The subjects are written next to the weights when a version is registered (`TRAINING_SUBJECTS_FILE`), because gc may
delete old windows later. Without that file they are traced through the manifests of all runs that led to the weights.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities.model_registry import ModelVersion
from pydantic import BaseModel, ConfigDict, Field

from tasks.maintenance.lineage import AS_ABOVE, Link, of_version
from tasks.maintenance.lineage_records import Records
from tasks.synthetic.motion import PICKLE_FILE
from tasks.tracking.runs import connect

TRAINING_SUBJECTS_FILE = "learned_from.json"
_TRAINING_INPUTS = ("weights", "pretrained", "windows")  # the windows contain the groups, so clips need no trace


class TrainingSubjects(BaseModel):
    """Training data of a version.

    Attributes
    ----------
    subjects
        Groups of the training and validation splits; the validation split selects the epoch.
    synthetic
        Whether synthetic motion was among the training data.
    unknown
        Inputs that may contain other subjects, each with the reason why its subjects are not known.
    """

    model_config = ConfigDict(frozen=True, validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    subjects: frozenset[str] = Field(alias="people")
    synthetic: bool
    unknown: tuple[str, ...] = ()


def read_training_subjects(store: Path, version: ModelVersion) -> TrainingSubjects:
    """Return the training subjects of a version from its file, or else from the manifests of the store and MLflow.

    Raises
    ------
    MlflowException
        MLflow did not answer.
    """
    client = connect(store)
    if version.run_id and any(file.path == TRAINING_SUBJECTS_FILE for file in client.list_artifacts(version.run_id)):
        text = mlflow.artifacts.load_text(f"runs:/{version.run_id}/{TRAINING_SUBJECTS_FILE}")
        return TrainingSubjects.model_validate_json(text)
    return _trace(store, version)


def write_training_subjects(store: Path, version: ModelVersion) -> None:
    """Write the training subjects of a version next to its weights in MLflow."""
    content: dict[str, Any] = _trace(store, version).model_dump(mode="json")
    connect(store).log_dict(
        str(version.run_id), content | {"people": sorted(content["people"])}, TRAINING_SUBJECTS_FILE
    )


def _trace(store: Path, version: ModelVersion) -> TrainingSubjects:
    records = Records(store)
    links = list(_all_links(of_version(records, version).links[0]))  # the first link is that of the weights
    lost = [link for link in links if link.role in _TRAINING_INPUTS and link.unknown not in (None, AS_ABOVE)]
    subjects, unknown = set[str](), [f"{link.role} {link.digest}: {link.unknown}" for link in lost]
    for link in links:
        if link.stage == "convert":
            record = records.of_digest(link.stage_digest or "")
            if record and record.manifest:
                groups = record.manifest["statistics"]["groups"]
                subjects |= {*groups["train"], *groups["val"]}
            else:
                unknown.append(f"{link.role} {link.digest}: the store does not have them any more")
    synthetic = any(link.stage == "synthesise" or _is_synthetic(records, link) for link in links)
    return TrainingSubjects(subjects=frozenset(subjects), synthetic=synthetic, unknown=tuple(unknown))


def _is_synthetic(records: Records, link: Link) -> bool:
    """Return whether a link is an ingest of the synthetic motion, also if its file was deleted."""
    record = records.of_digest(link.stage_digest) if link.stage == "ingest" and link.stage_digest else None
    source = (record.manifest or {}).get("statistics", {}).get("source", "") if record else ""
    return Path(str(source)).name == PICKLE_FILE


def _all_links(link: Link) -> Iterator[Link]:
    yield link
    for source in link.links:
        yield from _all_links(source)
