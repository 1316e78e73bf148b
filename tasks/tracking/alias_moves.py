"""Move the aliases `@champion` and `@previous` together.

MLflow has no transaction over two aliases. A move is first written as one tag of the registered model, then both
aliases are set, then the tag is deleted. `current_aliases` returns the aliases after an interrupted move, so every
reader of the registry sees both aliases change at once.
"""

from typing import Literal

from mlflow import MlflowClient
from mlflow.entities.model_registry import RegisteredModel
from pydantic import BaseModel, ConfigDict

from tasks.tracking.names import CHAMPION, MODEL_NAME, PREVIOUS

MOVE_TAG = "uplift.alias_move"  # PostgreSQL limits the value to 5,000 characters


class AliasMove(BaseModel):
    """A move of both aliases; `before` and `after`: alias -> version number.

    `record` locates the reason of the move: the MLflow run id of a promotion's decision, or the tag of a rollback.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["promotion", "rollback"]
    record: str
    before: dict[str, str]
    after: dict[str, str]


def current_aliases(model: RegisteredModel) -> dict[str, str]:
    """Return alias -> version number, with an interrupted move applied."""
    move = _pending(model)
    return _set_aliases(model) | (move.after if move else {})


def move_aliases(
    client: MlflowClient, kind: Literal["promotion", "rollback"], record: str, champion: str, previous: str | None
) -> None:
    """Set `@champion` to version `champion` and, unless it is None, `@previous` to version `previous`."""
    after = {CHAMPION: champion} | ({} if previous is None else {PREVIOUS: previous})
    aliases = _set_aliases(client.get_registered_model(MODEL_NAME))
    before = {alias: version for alias, version in aliases.items() if alias in after}
    move = AliasMove(kind=kind, record=record, before=before, after=after)
    client.set_registered_model_tag(MODEL_NAME, MOVE_TAG, move.model_dump_json())
    _carry_out(client, move)


def complete_move(client: MlflowClient) -> AliasMove | None:
    """Complete and return an interrupted move. If there is none, or a person has moved an alias since, return None."""
    model = client.get_registered_model(MODEL_NAME)
    move = _pending(model)
    if move:
        _carry_out(client, move)
    elif MOVE_TAG in model.tags:
        client.delete_registered_model_tag(MODEL_NAME, MOVE_TAG)
    return move


def _carry_out(client: MlflowClient, move: AliasMove) -> None:
    for alias, version in move.after.items():
        client.set_registered_model_alias(MODEL_NAME, alias, version)
    client.delete_registered_model_tag(MODEL_NAME, MOVE_TAG)


def _pending(model: RegisteredModel) -> AliasMove | None:
    if MOVE_TAG not in model.tags:
        return None
    move, aliases = AliasMove.model_validate_json(model.tags[MOVE_TAG]), _set_aliases(model)
    untouched = all(aliases.get(alias) in (move.before.get(alias), version) for alias, version in move.after.items())
    return move if untouched else None


def _set_aliases(model: RegisteredModel) -> dict[str, str]:
    return {alias: str(version) for alias, version in model.aliases.items()}
