"""Runs of deployments: what they are sent, and whether there is such a deployment."""

from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound

from data_contracts.errors import InputError


def as_json(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a flow as a deployment takes them."""
    return {
        key: value.model_dump(mode="json") if hasattr(value, "model_dump") else value
        for key, value in arguments.items()
    }


def send(deployment: str, arguments: dict[str, Any]) -> FlowRun:
    """A run of a deployment of its own, which nobody waits for."""
    run: Any = run_deployment(deployment, parameters=as_json(arguments), timeout=0, as_subflow=False)
    return run


def must_be_deployed(deployment: str) -> None:
    """Refuses what will be sent to a deployment that is not there, before the work that leads to it.

    Raises
    ------
    InputError
        This Prefect server has no such deployment.
    """
    with get_client(sync_client=True) as client:
        try:
            client.read_deployment_by_name(deployment)
        except ObjectNotFound as error:
            raise InputError(
                f"{deployment}: this Prefect server has no such deployment: prefect deploy --all"
            ) from error
