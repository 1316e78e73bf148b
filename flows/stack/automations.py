"""Who is told of what: Prefect automations, made anew only where they differ from what is there.

What an automation watches are events that the server emits of every run, and those of promotion and rollback
(`flows.prefect_ui.events`). One of them acts by itself: a run whose process gave no sign of life is marked crashed, so
that whoever waits for it (a night, for a stage that it sent off) fails too, and somebody is told. Any event of a run
ends its watch until the next heartbeat: one that is suspended for approval has no process, and is not dead.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound

from data_contracts.errors import InputError
from flows.prefect_ui.events import MODEL_RESOURCE, PROMOTED, ROLLED_BACK
from flows.stack.settings import StackSettings

if TYPE_CHECKING:
    from prefect.events.schemas.automations import Automation

OURS = "uplift: "  # begins the name of every automation that is installed here
NIGHTLY = {"prefect.resource.role": "deployment", "prefect.resource.name": "nightly"}
RUNS = {"prefect.resource.id": "prefect.flow-run.*"}
RUN_ID = {"prefect.resource.id"}
_LINK = "\n{{ flow_run|ui_url }}"


def wanted_automations(settings: StackSettings, block: UUID | None) -> list[AutomationCore]:
    """What is to be installed; without a notification block only what acts by itself."""
    silent = AutomationCore(
        name=f"{OURS}a run without a sign of life is crashed",
        description=f"Its process is gone, or its machine: no heartbeat for {settings.silent_minutes:g} minutes.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.*"},
            match=RUNS,
            for_each=RUN_ID,
            posture=Posture.Proactive,
            within=timedelta(minutes=settings.silent_minutes),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED, message=f"no sign of life for {settings.silent_minutes:g} minutes"
            )
        ],
    )
    return [silent, *(_notifications(settings, block) if block else [])]


def _notifications(settings: StackSettings, block: UUID) -> list[AutomationCore]:
    def told(name: str, when: str, trigger: dict[str, Any], subject: str, body: str) -> AutomationCore:
        action = SendNotification(block_document_id=block, subject=subject, body=body)
        return AutomationCore(name=f"{OURS}{name}", description=when, trigger=EventTrigger(**trigger), actions=[action])

    said = "{{ flow_run.name }} is {{ flow_run.state.name }}: {{ flow_run.state.message }}" + _LINK
    of_night: dict[str, Any] = {"match": RUNS, "match_related": NIGHTLY, "for_each": RUN_ID}
    found = [
        told(
            "a night failed",
            "A run of pipeline/nightly failed, crashed or timed out: says why, and links to it.",
            {**of_night, "expect": {f"prefect.flow-run.{state}" for state in ("Failed", "Crashed", "TimedOut")}},
            "pose-uplift: a night failed",
            said,
        ),
        told(
            "a night did not start",
            f"A run of pipeline/nightly is due for {settings.late_minutes:g} minutes and has not begun.",
            {
                **of_night,
                "after": {"prefect.flow-run.Late", "prefect.flow-run.Pending"},
                "expect": {
                    f"prefect.flow-run.{state}"
                    for state in ("Running", "AwaitingConcurrencySlot", "Cancelled", "Failed", "Crashed", "Completed")
                },
                "posture": Posture.Proactive,
                "within": timedelta(minutes=settings.late_minutes),
            },
            "pose-uplift: a night did not start",
            f"{{{{ flow_run.name }}}} is due for {settings.late_minutes:g} minutes and has not begun: has its work pool"
            f" a worker?{_LINK}",
        ),
        told(
            "a challenger waits for a person",
            "A promotion passed every check, and its run is suspended until somebody approves or declines.",
            {
                "match": RUNS,
                "match_related": {"prefect.resource.role": "flow", "prefect.resource.name": "promote"},
                "expect": {"prefect.flow-run.Suspended"},
            },
            "pose-uplift: a challenger waits for approval",
            f"{{{{ flow_run.name }}}} passed every check; resume its run to approve or decline it.{_LINK}",
        ),
        told(
            "another champion",
            "pose-uplift@champion was moved, by a promotion or a rollback: says to which version, and why.",
            {"match": {"prefect.resource.id": MODEL_RESOURCE}, "expect": {PROMOTED, ROLLED_BACK}},
            "pose-uplift: another champion",
            "{{ event.payload.headline }}",
        ),
    ]
    if settings.night_hours:
        found.append(
            told(
                "no night began",
                f"No run of pipeline/nightly has begun for {settings.night_hours:g} hours.",
                {
                    **of_night,
                    "for_each": set(),
                    "expect": {"prefect.flow-run.Running"},
                    "posture": Posture.Proactive,
                    "within": timedelta(hours=settings.night_hours),
                },
                "pose-uplift: no night began",
                f"No run of pipeline/nightly began for {settings.night_hours:g} hours: is its schedule active?",
            )
        )
    return found


def install(settings: StackSettings) -> list[str]:
    """Install what is wanted on the server of `PREFECT_API_URL`, and remove what of ours is not; names of all.

    An automation that a person paused stays so.

    Raises
    ------
    InputError
        The server has no notification block of that name.
    """
    block = _block(settings.notify) if settings.notify else None
    wanted = wanted_automations(settings, block)
    with get_client(sync_client=True) as client:
        there = {automation.name: automation for automation in _ours(client)}
        for automation in wanted:
            old = there.pop(automation.name, None)
            if old and _acts(old) == _acts(automation):
                continue
            if old:
                client.delete_automation(old.id)
            enabled = old.enabled if old else True
            client.create_automation(automation.model_copy(update={"enabled": enabled}))
        for left in there.values():
            client.delete_automation(left.id)
    return [automation.name for automation in wanted]


def remove() -> list[str]:
    """Remove all that were installed here; their names."""
    with get_client(sync_client=True) as client:
        found = _ours(client)
        for automation in found:
            client.delete_automation(automation.id)
    return [automation.name for automation in found]


def _ours(client: SyncPrefectClient) -> Sequence["Automation"]:
    return [automation for automation in client.read_automations(limit=200) if automation.name.startswith(OURS)]


def _acts(automation: AutomationCore) -> dict[str, Any]:
    """What an automation does, in a form that is the same for what the server says and for what it was sent."""
    core = AutomationCore.model_validate(automation.model_dump())
    return core.model_dump(mode="python", include={"description", "trigger", "actions"})


def _block(notify: str) -> UUID:
    """The notification block of that name, or one for that URL."""
    if notify.startswith(("http://", "https://")):
        said = {"subject": "{{subject}}", "body": "{{body}}", "text": "{{subject}}\n{{body}}"}  # text: what chats show
        block: Any = CustomWebhookNotificationBlock(name="uplift", url=notify, json_data=said)
        saved: Any = block.save("uplift", overwrite=True)
        return UUID(str(saved))
    slug, _, name = notify.partition("/")
    try:
        with get_client(sync_client=True) as client:
            return client.read_block_document_by_name(name, slug).id
    except ObjectNotFound as error:
        raise InputError(
            f"UPLIFT_NOTIFY={notify}: the server has no such block; write BLOCK-TYPE/NAME as `prefect block ls` shows"
            " it, or the URL of a webhook"
        ) from error
