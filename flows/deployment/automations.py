"""Prefect automations: notifications, and an automation that marks a run without a heartbeat as crashed.

The triggers are events of the Prefect server for each run, and events of promotion and rollback
(`flows.prefect_ui.events`). A pipeline run that waits for a stage marked as crashed starts the stage again. Any other
event of a run stops the timer until the next heartbeat, so a run that waits for approval is not marked as crashed.
"""

from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound

from data_contracts.errors import InputError
from flows.deployment.settings import StackSettings
from flows.prefect_ui.events import MODEL_RESOURCE, PROMOTED, ROLLED_BACK

PREFIX = "uplift: "  # of the names of all automations that this module installs
RUN: dict[str, Any] = {"match": {"prefect.resource.id": "prefect.flow-run.*"}, "for_each": {"prefect.resource.id"}}
NIGHTLY = {"match_related": {"prefect.resource.role": "deployment", "prefect.resource.name": "nightly"}}
PROMOTE = {"match_related": {"prefect.resource.role": "flow", "prefect.resource.name": "promote"}}
STATE = "{{ flow_run.name }} is {{ flow_run.state.name }}: {{ flow_run.state.message }}\n{{ flow_run|ui_url }}"


def wanted_automations(settings: StackSettings, block: UUID | None) -> list[AutomationCore]:
    """Return the automations to install; without a notification block only the automation for missing heartbeats."""
    silence = f"no heartbeat for {settings.silent_minutes:g} minutes"
    late, missing = f"{settings.late_minutes:g} minutes", f"{settings.missing_hours:g} hours"
    heartbeat = {**RUN, "after": {"prefect.flow-run.heartbeat"}, "expect": {"prefect.flow-run.*"}}
    crash = ChangeFlowRunState(state=StateType.CRASHED, message=silence)
    missed = heartbeat | _within(minutes=settings.silent_minutes)
    wanted = [_automation("run without a heartbeat", missed, silence, crash)]
    if block is None:
        return wanted

    def notify(name: str, trigger: dict[str, Any], text: str) -> None:
        action = SendNotification(block_document_id=block, subject=f"pose-uplift: {name}", body=text)
        wanted.append(_automation(name, trigger, f"notify: {name}", action))

    notify("nightly run failed", {**RUN, **NIGHTLY, "expect": _events("Failed", "Crashed", "TimedOut")}, STATE)
    begun = _events("Running", "AwaitingConcurrencySlot", "Cancelled", "Failed", "Crashed", "Completed")
    is_late = {**RUN, **NIGHTLY, "after": _events("Late", "Pending"), "expect": begun}
    notify(
        "nightly run did not start",
        is_late | _within(minutes=settings.late_minutes),
        f"{{{{ flow_run.name }}}} is late by {late}. Does its work pool have a worker?\n{{{{ flow_run|ui_url }}}}",
    )
    notify(
        "challenger waits for approval",
        {**RUN, **PROMOTE, "expect": _events("Suspended")},
        "{{ flow_run.name }} passed all checks. Resume the run to approve or decline.\n{{ flow_run|ui_url }}",
    )
    moved = {"match": {"prefect.resource.id": MODEL_RESOURCE}, "expect": {PROMOTED, ROLLED_BACK}}
    notify("new champion", moved, "{{ event.payload.headline }}")
    if settings.missing_hours:
        is_missing = {**RUN, **NIGHTLY, "for_each": set(), "expect": _events("Running")}
        notify(
            "no nightly run",
            is_missing | _within(hours=settings.missing_hours),
            f"No run of pipeline/nightly began for {missing}. Is its schedule active?",
        )
    return wanted


def _automation(name: str, trigger: dict[str, Any], description: str, action: Any) -> AutomationCore:
    fired = EventTrigger(**trigger)
    return AutomationCore(name=f"{PREFIX}{name}", description=description, trigger=fired, actions=[action])


def _events(*states: str) -> set[str]:
    return {f"prefect.flow-run.{state}" for state in states}


def _within(**time: float) -> dict[str, Any]:
    return {"posture": Posture.Proactive, "within": timedelta(**time)}


def install(client: SyncPrefectClient, settings: StackSettings) -> list[str]:
    """Install the automations, replace changed ones and remove obsolete ones; return the names."""
    wanted = wanted_automations(settings, _block(client, settings.notify) if settings.notify else None)
    installed = (one for one in client.read_automations(limit=200) if one.name.startswith(PREFIX))
    present: dict[str, Any] = {automation.name: automation for automation in installed}
    for automation in wanted:
        old = present.pop(automation.name, None)
        if old is None or _content(old) != _content(automation):
            if old:
                client.delete_automation(old.id)
            enabled = old.enabled if old else True  # one that a person paused stays paused
            client.create_automation(automation.model_copy(update={"enabled": enabled}))
    for obsolete in present.values():
        client.delete_automation(obsolete.id)
    return [automation.name for automation in wanted]


def _content(automation: AutomationCore) -> dict[str, Any]:
    """Return the content of an automation in a form that is equal for the server's copy and a local copy."""
    core = AutomationCore.model_validate(automation.model_dump())
    return core.model_dump(mode="python", include={"description", "trigger", "actions"})


def _block(client: SyncPrefectClient, notify: str) -> UUID:
    if notify.startswith(("http://", "https://")):
        fields = {"subject": "{{subject}}", "body": "{{body}}", "text": "{{subject}}\n{{body}}"}  # chats show `text`
        block: Any = CustomWebhookNotificationBlock(name="uplift", url=notify, json_data=fields)
        saved: Any = block.save("uplift", overwrite=True)
        return UUID(str(saved))
    slug, _, name = notify.partition("/")
    try:
        return client.read_block_document_by_name(name, slug).id
    except ObjectNotFound as error:
        raise InputError(
            f"UPLIFT_NOTIFY={notify}: the server does not have this block. Write BLOCK-TYPE/NAME as in `prefect block"
            " ls`, or the URL of a webhook"
        ) from error
