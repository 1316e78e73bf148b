"""Steps for `prefect.yaml`: what the forms of the deployments are filled with, as the stack's settings say."""

import os
from typing import Any

from data_contracts.errors import InputError
from data_contracts.presets import load_preset
from flows.stack.priority import step_back
from flows.stack.settings import ROOT, read_settings


def own_folder() -> dict[str, str]:
    """Where a worker runs a flow: in its own copy of the project, wherever that is on its machine.

    It is also what runs first in the session of a flow run, which steps back for the servers.
    """
    step_back()
    os.chdir(ROOT)
    return {"directory": str(ROOT)}


def preset() -> dict[str, Any]:
    """Parameters of `UPLIFT_PRESET`: one entry per stage, and `all` of them together."""
    parameters = load_preset(read_settings().preset).model_dump(mode="json")
    return {**parameters, "all": parameters}


def night() -> dict[str, Any]:
    """When the night is, on what, and what becomes of a second one.

    Raises
    ------
    InputError
        `UPLIFT_NIGHT_CRON` is no time.
    """
    from prefect.client.schemas.schedules import CronSchedule

    settings = read_settings()
    try:
        CronSchedule(cron=settings.night_cron, timezone=settings.night_timezone)
    except ValueError as error:
        raise InputError(f"UPLIFT_NIGHT_CRON={settings.night_cron}: no time in cron's five fields") from error
    return {
        "cron": settings.night_cron,
        "timezone": settings.night_timezone,
        "second": settings.second_night,
        "source": settings.source,
        "clip_list": settings.clip_list,
        "promote": settings.promote,
    }
