"""Steps for `prefect.yaml`: what the forms of the deployments are filled with, as the stack's settings say."""

import os
from typing import Any

from data_contracts.errors import InputError
from data_contracts.presets import load_preset
from flows.deployment.settings import ROOT, read_settings


def own_folder() -> dict[str, str]:
    """Change to the worker's own copy of the project, wherever it is on the worker's machine."""
    os.chdir(ROOT)
    return {"directory": str(ROOT)}


def preset() -> dict[str, Any]:
    """Return the preset of all deployments, `UPLIFT_PRESET`, which a run may replace.

    Raises
    ------
    InputError
        There is no such preset, or one of its values is refused.
    """
    name = read_settings().preset
    load_preset(name)
    return {"name": name}


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
