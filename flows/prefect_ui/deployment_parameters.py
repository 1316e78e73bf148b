"""A step for `prefect.yaml`: the presets, as what the forms of the deployments are filled with."""

from typing import Any

from data_contracts.presets import load_preset


def preset(name: str) -> dict[str, Any]:
    """Parameters of a preset: one entry per stage, and `all` of them together."""
    parameters = load_preset(name).model_dump(mode="json")
    return {**parameters, "all": parameters}
