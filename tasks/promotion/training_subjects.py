"""What a model version learned from: whose motion, and whether it was synthetic.

A version's people are written down when it is registered (`LEARNED_FILE`, beside its weights' run), because a store may
be cleaned of old windows; where that was not done, manifests tell, through `--pretrained` too.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities.model_registry import ModelVersion
from pydantic import BaseModel, ConfigDict

from tasks.maintenance.lineage import AS_ABOVE, Link, of_version
from tasks.maintenance.lineage_records import Records
from tasks.synthetic.motion import PICKLE_FILE
from tasks.tracking.runs import connect

LEARNED_FILE = "learned_from.json"
_TEACHING = ("weights", "pretrained", "windows")  # behind windows whose groups are known nobody else is


class Learned(BaseModel):
    """What a version learned from; `people` are groups of training and of validation, which picked its epoch.

    unknown: what may hold more people, and why nobody can say.
    """

    model_config = ConfigDict(frozen=True)

    people: frozenset[str]
    synthetic: bool
    unknown: tuple[str, ...] = ()


def learned_from(store: Path, version: ModelVersion) -> Learned:
    """What a version learned from, as it was written down, or else as the store and MLflow have it.

    Raises
    ------
    MlflowException
        MLflow could not be asked.
    """
    client = connect(store)
    if version.run_id and any(file.path == LEARNED_FILE for file in client.list_artifacts(version.run_id)):
        text = mlflow.artifacts.load_text(f"runs:/{version.run_id}/{LEARNED_FILE}")
        return Learned.model_validate_json(text)
    return _trace(store, version)


def write_learned(store: Path, version: ModelVersion) -> None:
    """Write it down beside the version's weights, once for all."""
    learned = _trace(store, version)
    connect(store).log_dict(str(version.run_id), _as_json(learned), LEARNED_FILE)


def _trace(store: Path, version: ModelVersion) -> Learned:
    records = Records(store)
    links = list(_behind(of_version(records, version).links[0]))  # its weights; what it was scored on taught it nothing
    lost = [link for link in links if link.role in _TEACHING and link.unknown not in (None, AS_ABOVE)]
    people, unknown = set[str](), [f"{link.role} {link.digest}: {link.unknown}" for link in lost]
    for link in links:
        if link.stage == "convert":
            record = records.of_digest(link.stage_digest or "")
            if record and record.manifest:
                groups = record.manifest["statistics"]["groups"]
                people |= {*groups["train"], *groups["val"]}
            else:
                unknown.append(f"{link.role} {link.digest}: the store does not have them any more")
    synthetic = any(link.stage == "synthesise" or _is_of_ours(records, link) for link in links)
    return Learned(people=frozenset(people), synthetic=synthetic, unknown=tuple(unknown))


def _is_of_ours(records: Records, link: Link) -> bool:
    """Clips of the synthetic motion, whose file is gone."""
    record = records.of_digest(link.stage_digest) if link.stage == "ingest" and link.stage_digest else None
    source = (record.manifest or {}).get("statistics", {}).get("source", "") if record else ""
    return Path(str(source)).name == PICKLE_FILE


def _behind(link: Link) -> Iterator[Link]:
    yield link
    for before in link.links:
        yield from _behind(before)


def _as_json(learned: Learned) -> dict[str, Any]:
    return {**learned.model_dump(mode="json"), "people": sorted(learned.people)}
