"""Rollback: swap `@champion` and `@previous`, and write the reason to tags of both versions."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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
        if previous.version == champion.version:
            both = f"{MODEL_NAME}@{CHAMPION} and @{PREVIOUS} are both version {champion.version}"
            raise InputError(f"{both}: set @{PREVIOUS} in MLflow to the version to return to")
        result = {"name": MODEL_NAME, "from": int(champion.version), "to": int(previous.version)}
        result |= {"who": who, "reason": reason[: TAG_LENGTH // 2]}
        record = f"{ROLLBACK_TAG}{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"  # MLflow refuses a + in the name of a tag
        for version in (champion, previous):
            client.set_model_version_tag(MODEL_NAME, version.version, record, json.dumps(result))
        move_aliases(client, "rollback", record, str(previous.version), str(champion.version))
    return result
