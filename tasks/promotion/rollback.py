"""The way back: `@champion` and `@previous` change places, and who asked for it and why is kept."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from data_contracts.errors import InputError
from data_contracts.store.locks import hold
from tasks.mlflow_runs.names import CHAMPION, MODEL_NAME, PREVIOUS
from tasks.mlflow_runs.registry import aliased_versions
from tasks.mlflow_runs.runs import connect
from tasks.promote import LOCK
from tasks.promotion.contenders import ROLLBACK_TAG
from tasks.promotion.decision import TAG_LENGTH


@task(cache_policy=NO_CACHE)
def swap_back(store: Path, reason: str, who: str) -> dict[str, Any]:
    """`@champion` and `@previous` change places; both versions are tagged with who asked for it and why.

    The version that is left does not compete again until that tag is deleted.

    Raises
    ------
    InputError
        There is no champion, or none before it.
    MlflowException
        The registry could not be asked.
    """
    client = connect(store)
    with hold(store / LOCK, "rollback"):
        versions = aliased_versions(client)
        champion, previous = versions.get(CHAMPION), versions.get(PREVIOUS)
        if champion is None or previous is None or champion.version == previous.version:
            missing = CHAMPION if champion is None else PREVIOUS
            raise InputError(f"no model version is {MODEL_NAME}@{missing}: there is nothing to go back to")
        said = {"name": MODEL_NAME, "from": int(champion.version), "to": int(previous.version)}
        said |= {"who": who, "reason": reason[: TAG_LENGTH // 2]}
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")  # MLflow takes no + in the name of a tag
        for version in (champion, previous):
            client.set_model_version_tag(MODEL_NAME, version.version, f"{ROLLBACK_TAG}{at}", json.dumps(said))
        client.set_registered_model_alias(MODEL_NAME, CHAMPION, previous.version)  # first: this is what was asked for
        client.set_registered_model_alias(MODEL_NAME, PREVIOUS, champion.version)
    return said
