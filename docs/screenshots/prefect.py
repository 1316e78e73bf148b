"""Take screenshots of a running stack in Prefect: the last nightly run that trained, deployments, automations.

    export PREFECT_API_URL=http://127.0.0.1:4200/api
    .venv/bin/python -m docs.screenshots.prefect [--into docs]

Those in `docs/` are of `make up` with UPLIFT_NOTIFY, after a nightly run that trained and one that failed:

    .venv/bin/prefect deployment run 'pipeline/nightly' --watch
    .venv/bin/prefect deployment run 'pipeline/nightly' --param source=/data/amass/amass_joints_h36m_60.pkl --watch

The script changes nothing on the server. It waits for texts and then until the page no longer changes, because Prefect
loads rows piece by piece. It uses no class names of Prefect.
"""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from docs.chromium import NoBrowserError, Page, chromium, new_page
from docs.screenshots.picture import WIDTH, click, go_to, resize, save, settle

NIGHTLY = "pipeline/nightly"


def main() -> None:
    """Take the screenshots, or end with one line that states the reason."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=Path(__file__).parent.parent)
    options = parser.parse_args()
    api = os.environ.get("PREFECT_API_URL")
    if not api:
        raise SystemExit('PREFECT_API_URL is not set: run eval "$(uplift env)"')
    try:
        take_screenshots(Prefect(api), options.into)
    except NoBrowserError as error:
        raise SystemExit(str(error)) from None
    except httpx.HTTPError as error:
        raise SystemExit(f"{api} does not answer ({error!r}): start `make up`") from None


class Prefect:
    """A Prefect server."""

    def __init__(self, api: str) -> None:
        user, _, password = os.environ.get("PREFECT_API_AUTH_STRING", "").partition(":")
        auth = httpx.BasicAuth(user, password) if password else None
        self.client = httpx.Client(base_url=api, timeout=60, auth=auth)
        self.pages = api.removesuffix("/").removesuffix("/api")

    def search(self, kind: str, **query: Any) -> list[dict[str, Any]]:
        """Return the objects of a kind, e.g. `flow_runs`, that match."""
        objects: list[dict[str, Any]] = self.client.post(f"/{kind}/filter", json=query).raise_for_status().json()
        return objects

    def nightly_runs(self, state: str) -> list[dict[str, Any]]:
        """Return the runs of `pipeline/nightly` in a state, the last one first."""
        nightly = self.client.get(f"/deployments/name/{NIGHTLY}").raise_for_status().json()
        of_nightly = {"deployment_id": {"any_": [nightly["id"]]}, "state": {"type": {"any_": [state]}}}
        return self.search("flow_runs", flow_runs=of_nightly, sort="END_TIME_DESC", limit=50)

    def last_that_trained(self) -> dict[str, Any]:
        """Return the last nightly run that sent its training to workers."""
        for run in self.nightly_runs("COMPLETED"):
            of_run = {"parent_flow_run_id": {"any_": [run["id"]]}}
            if self.search("flow_runs", flow_runs=of_run, flows={"name": {"any_": ["finetune"]}}):
                return run
        raise SystemExit(f"{self.pages} has no nightly run that trained: prefect deployment run '{NIGHTLY}' --watch")

    def artifact(self, run: dict[str, Any], key: str) -> str:
        """Return the address of an artifact of a run."""
        query = {"flow_run_id": {"any_": [run["id"]]}, "key": {"any_": [key]}}
        return f"{self.pages}/artifacts/artifact/{self.search('artifacts', artifacts=query)[0]['id']}"


def take_screenshots(server: Prefect, into: Path) -> None:
    """Write PNG files to a folder; `failed.png` if a nightly run failed."""
    trained, failed = server.last_that_trained(), server.nightly_runs("FAILED")
    runs = f"{server.pages}/runs/flow-run"
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile, chromium(Path(profile), WIDTH) as browser:

        @contextmanager
        def screenshot(name: str, height: int) -> Iterator[Page]:
            with new_page(browser) as page:
                resize(page, height)
                yield page
                settle(page)
                save(page, into / f"{name}.png")

        with screenshot("pipeline-run", 1000) as page:
            go_to(page, f"{runs}/{trained['id']}", trained["name"])
            click(page, "Artifacts")
            page.wait_for("document.body.innerText.includes('pipeline-scores')")
        for key, height in (("summary", 760), ("durations", 760)):
            with screenshot(key, height) as page:
                go_to(page, server.artifact(trained, f"pipeline-{key}"), f"pipeline-{key}")
                page.wait_for("[...document.images].every((one) => one.complete && one.naturalWidth)")
        if failed:
            with screenshot("failed", 500) as page:
                go_to(page, server.artifact(failed[0], "pipeline-summary"), "flow-run retry")
        with screenshot("deployments", 1090) as page:
            go_to(page, f"{server.pages}/deployments?limit=25", "weekly")
        with screenshot("automations", 1500) as page:
            go_to(page, f"{server.pages}/automations", "heartbeat")


if __name__ == "__main__":
    main()
