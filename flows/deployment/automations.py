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
NIGHTLY = RUN | {"match_related": {"prefect.resource.role": "deployment", "prefect.resource.name": "nightly"}}
PROMOTE = RUN | {"match_related": {"prefect.resource.role": "flow", "prefect.resource.name": "promote"}}
STATE = "{{ flow_run.name }} is {{ flow_run.state.name }}: {{ flow_run.state.message }}\n{{ flow_run|ui_url }}"
LATE = "{{ flow_run.name }} is late. Does its work pool have a worker?\n{{ flow_run|ui_url }}"
APPROVAL = "{{ flow_run.name }} passed all checks. Resume the run to approve or decline.\n{{ flow_run|ui_url }}"


def wanted_automations(settings: StackSettings, block: UUID | None) -> list[AutomationCore]:
    """Return the automations to install; without a notification block only the automation for missing heartbeats."""
    silence = f"no heartbeat for {settings.silent_minutes:g} minutes"
    crash = ChangeFlowRunState(state=StateType.CRASHED, message=silence)
    heartbeat = RUN | {"after": {"prefect.flow-run.heartbeat"}, "expect": {"prefect.flow-run.*"}}
    begun = _events("Running", "AwaitingConcurrencySlot", "Cancelled", "Failed", "Crashed", "Completed")
    late = {"after": _events("Late", "Pending"), "expect": begun} | _within(minutes=settings.late_minutes)
    missing = {"for_each": set(), "expect": _events("Running")} | _within(hours=settings.missing_hours)
    champion = {"match": {"prefect.resource.id": MODEL_RESOURCE}, "expect": {PROMOTED, ROLLED_BACK}}
    notifications = {
        "nightly run failed": (NIGHTLY | {"expect": _events("Failed", "Crashed", "TimedOut")}, STATE),
        "nightly run did not start": (NIGHTLY | late, LATE),
        "no nightly run": (NIGHTLY | missing, f"No run for {settings.missing_hours:g} hours. Is its schedule active?"),
        "challenger waits for approval": (PROMOTE | {"expect": _events("Suspended")}, APPROVAL),
        "new champion": (champion, "{{ event.payload.headline }}"),
    }
    if not settings.missing_hours:
        del notifications["no nightly run"]
    wanted = [_automation("run without a heartbeat", heartbeat | _within(minutes=settings.silent_minutes), crash)]
    for name, (trigger, text) in notifications.items() if block else ():
        action = SendNotification(block_document_id=block, subject=f"pose-uplift: {name}", body=text)
        wanted.append(_automation(name, trigger, action))
    return wanted


def _automation(name: str, trigger: dict[str, Any], action: Any) -> AutomationCore:
    return AutomationCore(name=PREFIX + name, description=name, trigger=EventTrigger(**trigger), actions=[action])


def _events(*states: str) -> set[str]:
    return {f"prefect.flow-run.{state}" for state in states}


def _within(**time: float) -> dict[str, Any]:
    return {"posture": Posture.Proactive, "within": timedelta(**time)}


def install(client: SyncPrefectClient, settings: StackSettings) -> list[str]:
    """Install the automations, update changed ones and remove obsolete ones; return the names."""
    block = _block(client, settings.notify) if settings.notify else None
    wanted = {automation.name: automation for automation in wanted_automations(settings, block)}
    new = dict(wanted)
    for present in client.read_automations(limit=200):
        if (automation := new.pop(present.name, None)) is None:
            if present.name.startswith(PREFIX):
                client.delete_automation(present.id)
        elif _content(present) != _content(automation):  # an update would restart the timers of an equal automation
            automation.enabled = present.enabled  # a person may have paused it
            client.update_automation(present.id, automation)
    for automation in new.values():
        client.create_automation(automation)
    return list(wanted)


def _content(automation: AutomationCore) -> dict[str, Any]:
    """Return the content of an automation in a form that is equal for the server's copy and a local copy."""
    core = AutomationCore.model_validate(automation.model_dump())
    return core.model_dump(include={"description", "trigger", "actions"})


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
        raise InputError(f"UPLIFT_NOTIFY={notify}: expected TYPE/NAME from `prefect block ls`, or a URL") from error
