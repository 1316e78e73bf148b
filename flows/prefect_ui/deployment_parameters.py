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
