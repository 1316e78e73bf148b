"""Steps of `prefect.yaml` that fill in deployments with the settings of the stack."""

import os
from typing import Any

from data_contracts.errors import InputError
from data_contracts.parameters.presets import load_preset
from flows.deployment.settings import ROOT, read_settings


def own_folder() -> dict[str, str]:
    """Change the working directory to the project folder on the worker's machine, and return this folder."""
    os.chdir(ROOT)
    return {"directory": str(ROOT)}


def preset() -> dict[str, Any]:
    """Return the default preset of all deployments, `UPLIFT_PRESET`, as `name`.

    Raises
    ------
    InputError
        The preset does not exist, or one of its values is not allowed.
    """
    name = read_settings().preset
    load_preset(name)
    return {"name": name}


def nightly() -> dict[str, Any]:
    """Return the schedule, the motion and the promotion of the nightly pipeline run.

    Raises
    ------
    InputError
        `UPLIFT_SCHEDULE_CRON` is not a cron expression.
    """
    from prefect.client.schemas.schedules import CronSchedule

    settings = read_settings()
    try:
        CronSchedule(cron=settings.schedule_cron, timezone=settings.schedule_timezone.key)
    except ValueError as error:
        raise InputError(
            f"UPLIFT_SCHEDULE_CRON={settings.schedule_cron}: expected five fields of a cron expression, e.g. 0 3 * * *"
        ) from error
    return {
        "cron": settings.schedule_cron,
        "timezone": settings.schedule_timezone.key,
        "source": settings.source,
        "clip_list": settings.clip_list,
        "promote": settings.promote,
    }
