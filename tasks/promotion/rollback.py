"""Rollback: swap `@champion` and `@previous`, and write the reason to tags of both versions."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlflow.entities.model_registry import ModelVersion

from data_contracts.errors import InputError
from data_contracts.store.locks import locked
from tasks.promotion.comparison import ROLLBACK_TAG
from tasks.promotion.decision import TAG_LENGTH
from tasks.promotion.promote import LOCK
from tasks.stage_runs.prefect_runs import task
from tasks.tracking.alias_moves import complete_move, move_aliases
from tasks.tracking.names import CHAMPION, MODEL_NAME, PREVIOUS
from tasks.tracking.registry import aliased_versions
from tasks.tracking.runs import connect


@task()
def swap_back(store: Path, reason: str, who: str) -> dict[str, Any]:
    """Swap `@champion` and `@previous`, and tag both versions with the person and the reason.

    The version that was champion does not compete again until its tag is deleted. If an earlier rollback was killed
    after its decision, this call completes it and returns its record instead of swapping again.

    Raises
    ------
    InputError
        No version is champion, or no version is previous.
    MlflowException
        The registry did not answer.
    """
    client = connect(store)
    with locked(store / LOCK, "rollback"):
        versions = aliased_versions(client)
        if CHAMPION not in versions:
            raise InputError(f"no model version is {MODEL_NAME}@{CHAMPION}: there is nothing to roll back")
        champion, interrupted = versions[CHAMPION], complete_move(client)
        if interrupted is not None and interrupted.kind == "rollback":
            return dict(json.loads(champion.tags[interrupted.record]))
        previous = versions.get(PREVIOUS)
        if previous is None:
            raise InputError(f"no model version is {MODEL_NAME}@{PREVIOUS}: there is nothing to roll back to")
        if previous.version == champion.version:  # an older release was killed between the two aliases
            replaced, record = _replaced_by(champion)
            previous = client.get_model_version(MODEL_NAME, replaced)
            if record:
                move_aliases(client, "rollback", record, str(champion.version), replaced)
                return dict(json.loads(champion.tags[record]))
        result = {"name": MODEL_NAME, "from": int(champion.version), "to": int(previous.version)}
        result |= {"who": who, "reason": reason[: TAG_LENGTH // 2]}
        record = f"{ROLLBACK_TAG}{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"  # MLflow refuses a + in the name of a tag
        for version in (champion, previous):
            client.set_model_version_tag(MODEL_NAME, version.version, record, json.dumps(result))
        move_aliases(client, "rollback", record, str(previous.version), str(champion.version))
    return result


def _replaced_by(champion: ModelVersion) -> tuple[str, str | None]:
    """Return the version that the champion replaced last, and the tag of the rollback if a rollback did it."""
    moves: list[tuple[str, str, str | None]] = []
    for key, value in champion.tags.items():
        if key.startswith(ROLLBACK_TAG):
            rollback = json.loads(value)
            if str(rollback["to"]) == str(champion.version):
                moves.append((key.removeprefix(ROLLBACK_TAG)[:19], str(rollback["from"]), key))
        elif re.fullmatch(rf"promotion\.{champion.version}-\d+", key):
            promotion = json.loads(value)
            if promotion["promoted"]:
                moves.append((promotion["at"][:19], str(promotion["champion"]), None))
    if not moves:
        raise InputError(
            f"{MODEL_NAME}@{CHAMPION} and @{PREVIOUS} are both version {champion.version}, and no tag of that version"
            f" contains the version before it: set @{PREVIOUS} in MLflow"
        )
    return max(moves, key=lambda move: move[0])[1:]
