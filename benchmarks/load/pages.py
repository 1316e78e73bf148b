"""The pages of both UIs, and `uplift status`: how long each takes until it shows what it is opened for."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from benchmarks.stack import ROOT, Servers, ask
from docs.chromium import chromium, new_page

WIDTH, HEIGHT = 1440, 900  # of the browser's window
STATUS = "uplift status"
WHEN = ("start", "middle", "end")  # the pages are opened


@dataclass(frozen=True)
class Visit:
    """One look at a page, or one `uplift status`: how long it took, and what of that others took."""

    page: str
    is_first: bool  # with an empty cache
    seconds: float
    cpu_seconds: float  # of the page's process, or of the command
    server_seconds: float  # longest wait of one of its requests, from asking to the first byte
    request: str  # that one
    load: float  # of the machine, over the last minute


def visits(servers: Servers, rounds: int) -> Iterator[Visit]:
    """Every page with an empty cache, then all of them again and again; and the command as often."""
    pages = addresses(servers)
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile, chromium(Path(profile), WIDTH, HEIGHT) as browser:
        for name, (address, condition) in pages.items():
            yield visit(browser, name, address, condition, is_first=True)
        for _ in range(rounds):
            for name, (address, condition) in pages.items():
                yield visit(browser, name, address, condition, is_first=False)
            yield status(servers)


def addresses(servers: Servers) -> dict[str, tuple[str, str]]:
    """Address of each page, and an expression that is true of its text once it shows what it is for."""
    found = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}, "limit": 1, "sort": "END_TIME_DESC"}
    flow_run = ask(f"{servers.api}/flow_runs/filter", found)[0]["id"]
    asked = {"experiment_ids": ["1"], "filter": "tags.`uplift.stage` = 'pipeline'", "max_results": 2}
    runs = [run["info"]["run_id"] for run in ask(f"{servers.mlflow}/api/2.0/mlflow/runs/search", asked)["runs"]]
    prefect, mlflow, compared = servers.prefect, f"{servers.mlflow}/#", json.dumps(runs)
    return {
        "Prefect: dashboard": (
            f"{prefect}/dashboard",
            "/Flow Runs\\s+\\d+\\s+total/.test(text) && text.includes('Polled')",
        ),
        "Prefect: runs": (f"{prefect}/runs", links("/runs/flow-run/", 5)),
        "Prefect: a run": (f"{prefect}/runs/flow-run/{flow_run}", "text.includes('Finished in state')"),
        "Prefect: deployments": (f"{prefect}/deployments", links("/deployments/deployment/", 10)),
        "Prefect: work pools": (f"{prefect}/work-pools", "text.split('Last Polled').length > 2"),
        "Prefect: automations": (f"{prefect}/automations", "text.includes('uplift: ')"),
        "MLflow: runs": (f"{mlflow}/experiments/1/runs", links("/runs/", 10)),
        "MLflow: a run": (f"{mlflow}/experiments/1/runs/{runs[0]}", "text.includes('test/mpjpe_mm')"),
        "MLflow: a model": (f"{mlflow}/models/pose-uplift", links("/versions/", 2)),
        "MLflow: two runs": (f'{mlflow}/compare-runs?runs={compared}&experiments=["1"]', "text.includes('Show diff')"),
    }


def links(part: str, rows: int) -> str:
    """There are so many rows, each with a link; more may come with them."""
    hrefs = f"[...document.querySelectorAll('a[href*=\"{part}\"]')].map((one) => one.href)"
    return f"new Set({hrefs}).size >= {rows}"


def visit(browser: str, name: str, address: str, condition: str, is_first: bool) -> Visit:
    """Open a page in a tab of its own, and wait for what it is for."""
    with new_page(browser) as page:
        page.ask("Performance.enable")
        if is_first:
            page.ask("Network.clearBrowserCache")
        began = time.perf_counter()
        page.ask("Page.navigate", url=address)
        page.run(_SHOWN % condition)
        seconds = time.perf_counter() - began
        wait, request = page.run(_SLOWEST) or (0.0, "")
        metrics = {one["name"]: one["value"] for one in page.ask("Performance.getMetrics")["metrics"]}
    return Visit(name, is_first, seconds, metrics["ProcessTime"], wait / 1000, request, os.getloadavg()[0])


_SHOWN = """new Promise((done) => {
  const look = () => {
    const text = document.body ? document.body.innerText : "";
    (%s) ? done(true) : setTimeout(look, 50);
  };
  look();
})"""
_SLOWEST = """performance.getEntriesByType("resource")
  .filter((one) => ["fetch", "xmlhttprequest"].includes(one.initiatorType) && one.name.startsWith(location.origin))
  .map((one) => [one.responseStart - one.requestStart, new URL(one.name).pathname])
  .sort((one, other) => other[0] - one[0])[0]"""


def status(servers: Servers) -> Visit:
    """The command, in a terminal as docs/running.md describes it; one that Prefect did not answer names it."""
    command = [sys.executable, "-m", "flows.command_line", "status", "--store", str(servers.store), "--json"]
    told = {"PREFECT_API_URL": servers.api, "MLFLOW_TRACKING_URI": servers.mlflow, "PYTHONPATH": str(ROOT)}
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, check=True, env=os.environ | told, cwd=ROOT, capture_output=True, text=True)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    unasked = " ".join(json.loads(done.stdout)["unasked"])
    return Visit(STATUS, False, seconds, cpu, 0.0, unasked, os.getloadavg()[0])


def pages_table(file: Path) -> str:
    """A line a page: its first visit, and median and slowest of the others at each time."""
    visited = pd.read_csv(file)
    lines = ["| page | empty cache | start | middle | end | its CPU | server |", "|---|---:|---:|---:|---:|---:|---:|"]
    for name, rows in visited.groupby("page", sort=False):
        first, again = rows[rows.is_first], rows[~rows.is_first]
        cells = [seconds_of(first)] + [seconds_of(again[again.when == when]) for when in WHEN]
        cells += [f"{again.cpu_seconds.median():.1f}", f"{again.server_seconds.median():.2f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    loads = ", ".join(f"{when} {rows.load.median():.0f}" for when, rows in visited.groupby("when", sort=False))
    unasked = visited[(visited.page == STATUS) & visited.request.notna()]
    return "\n".join([*lines, f"load of the machine: {loads}", f"{STATUS} without Prefect's answer: {len(unasked)}"])


def seconds_of(rows: pd.DataFrame) -> str:
    """Median and slowest."""
    return f"{rows.seconds.median():.1f} ({rows.seconds.max():.1f})" if len(rows) else ""
