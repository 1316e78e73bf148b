"""Steps for `prefect.yaml`: what the forms of the deployments are filled with, as the stack's settings say."""

import os
from typing import Any

from data_contracts.errors import InputError
from data_contracts.presets import load_preset
from flows.stack.settings import ROOT, read_settings


def own_folder() -> dict[str, str]:
    """Change to the worker's own copy of the project, wherever it is on the worker's machine."""
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
        `UPLIFT_SCHEDULE_CRON` is not a cron expression.
    """
    from prefect.client.schemas.schedules import CronSchedule

    settings = read_settings()
    try:
        CronSchedule(cron=settings.schedule_cron, timezone=settings.schedule_timezone)
    except ValueError as error:
        raise InputError(f"UPLIFT_SCHEDULE_CRON={settings.schedule_cron}: not a time in cron's five fields") from error
    return {
        "cron": settings.schedule_cron,
        "timezone": settings.schedule_timezone,
        "second": settings.second_run,
        "source": settings.source,
        "clip_list": settings.clip_list,
        "promote": settings.promote,
    }
