"""Pictures of what Prefect shows of a stack that is up: the last night that trained, deployments, automations.

    export PREFECT_API_URL=http://127.0.0.1:4200/api
    .venv/bin/python -m docs.screenshots.prefect [--into docs]

Those in `docs/` are of `make up` with UPLIFT_NOTIFY, so that all automations are there, on which nights trained, and
one was given a source that does not exist:

    .venv/bin/prefect deployment run 'pipeline/nightly' --watch
    .venv/bin/prefect deployment run 'pipeline/nightly' --param source=/data/amass/amass_joints_h36m_60.pkl --watch

Notable decisions:
- the stack is that of whoever asks, and nothing in it is changed: the pictures are of what a person would see;
- the night is the last one that sent stages to workers: one that found everything in the store has no graph to show;
- what is waited for is what the picture is of, and then that nothing changes any more, as Prefect asks for pieces of
  a row one by one; its own class names are not relied upon.
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
    """Make the pictures, or say in a line why not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=Path(__file__).parent.parent)
    options = parser.parse_args()
    api = os.environ.get("PREFECT_API_URL")
    if not api:
        raise SystemExit("PREFECT_API_URL names no server: export what `make up` prints")
    try:
        make_pictures(Prefect(api), options.into)
    except NoBrowserError as error:
        raise SystemExit(str(error)) from None
    except httpx.HTTPError as error:
        raise SystemExit(f"{api} could not be asked ({error!r}): is `make up` running?") from None


class Prefect:
    """A server: what it answers, and where its pages are."""

    def __init__(self, api: str) -> None:
        user, _, password = os.environ.get("PREFECT_API_AUTH_STRING", "").partition(":")
        auth = httpx.BasicAuth(user, password) if password else None
        self.client = httpx.Client(base_url=api, timeout=60, auth=auth)
        self.pages = api.removesuffix("/").removesuffix("/api")

    def ask(self, what: str, **wanted: Any) -> list[dict[str, Any]]:
        """Those of a kind (`flow_runs`) that match."""
        found: list[dict[str, Any]] = self.client.post(f"/{what}/filter", json=wanted).raise_for_status().json()
        return found

    def nights(self, state: str) -> list[dict[str, Any]]:
        """Runs of `pipeline/nightly` that ended so, the last one first."""
        nightly = self.client.get(f"/deployments/name/{NIGHTLY}").raise_for_status().json()
        of_nightly = {"deployment_id": {"any_": [nightly["id"]]}, "state": {"type": {"any_": [state]}}}
        return self.ask("flow_runs", flow_runs=of_nightly, sort="END_TIME_DESC", limit=50)

    def last_that_trained(self) -> dict[str, Any]:
        """The last night that sent its training to workers."""
        for night in self.nights("COMPLETED"):
            of_night = {"parent_flow_run_id": {"any_": [night["id"]]}}
            if self.ask("flow_runs", flow_runs=of_night, flows={"name": {"any_": ["finetune"]}}):
                return night
        raise SystemExit(f"{self.pages} knows no night that trained: prefect deployment run '{NIGHTLY}' --watch")

    def artifact(self, night: dict[str, Any], key: str) -> str:
        """The page of an artifact of that night."""
        wanted = {"flow_run_id": {"any_": [night["id"]]}, "key": {"any_": [key]}}
        return f"{self.pages}/artifacts/artifact/{self.ask('artifacts', artifacts=wanted)[0]['id']}"


def make_pictures(server: Prefect, into: Path) -> None:
    """PNGs in that folder; `failed.png` where a night did."""
    night, failed = server.last_that_trained(), server.nights("FAILED")
    runs = f"{server.pages}/runs/flow-run"
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile, chromium(Path(profile), WIDTH) as browser:

        @contextmanager
        def pictured(name: str, height: int) -> Iterator[Page]:
            with new_page(browser) as page:
                resize(page, height)
                yield page
                settle(page)
                save(page, into / f"{name}.png")

        with pictured("night", 1000) as page:
            go_to(page, f"{runs}/{night['id']}", night["name"])
            click(page, "Artifacts")
            page.wait_for("document.body.innerText.includes('pipeline-scores')")
        for key, height in (("summary", 760), ("durations", 760)):
            with pictured(key, height) as page:
                go_to(page, server.artifact(night, f"pipeline-{key}"), f"pipeline-{key}")
                page.wait_for("[...document.images].every((one) => one.complete && one.naturalWidth)")
        if failed:
            with pictured("failed", 500) as page:
                go_to(page, server.artifact(failed[0], "pipeline-summary"), "flow-run retry")
        with pictured("deployments", 1090) as page:
            go_to(page, f"{server.pages}/deployments?limit=25", "weekly")
        with pictured("automations", 1500) as page:
            go_to(page, f"{server.pages}/automations", "sign of life")


if __name__ == "__main__":
    main()
