"""Flow runs that go on or wait for somebody, asked of the Prefect server without Prefect, which takes a second."""

import os
from typing import Any

from data_contracts.errors import InputError

TIMEOUT_SECONDS = 0.5
_STATES = ["RUNNING", "PENDING", "PAUSED", "CANCELLING"]


def flow_runs_at_work(limit: int = 20) -> list[dict[str, Any]]:
    """`flow`, `name`, `state` and `since` (ISO 8601; none of one that has not begun), the newest first.

    Raises
    ------
    InputError
        `PREFECT_API_URL` names no server, or it does not answer at once.
    """
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        raise InputError("Prefect: PREFECT_API_URL names no server")
    import httpx  # a tenth of a second, where there is a server

    key, user = os.environ.get("PREFECT_API_KEY"), os.environ.get("PREFECT_API_AUTH_STRING")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    auth = httpx.BasicAuth(*user.split(":", 1)) if user and ":" in user else None
    wanted = {"flow_runs": {"state": {"type": {"any_": _STATES}}}, "sort": "START_TIME_DESC", "limit": limit}
    try:
        with httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS, headers=headers, auth=auth) as client:
            runs = client.post("/flow_runs/filter", json=wanted).raise_for_status().json()
            ids = sorted({run["flow_id"] for run in runs})
            flows = client.post("/flows/filter", json={"flows": {"id": {"any_": ids}}}).raise_for_status().json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise InputError(f"Prefect: {url} could not be asked ({error!r:.200})") from error
    names = {flow["id"]: flow["name"] for flow in flows}
    return [
        {
            "flow": names.get(run["flow_id"], "?"),
            "name": run["name"],
            "state": run["state_name"],
            "since": run["start_time"],
        }
        for run in runs
    ]
