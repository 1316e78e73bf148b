"""How the stack stands a load: a hundred flow runs queued on two pools, a thousand runs in MLflow, an hour of it.

    python -m benchmarks.load [--runs 1000] [--queued 100] [--minutes 60] [--rounds 5] [--figure docs/memory.png]

`uplift up` on free ports, in a store that `benchmarks.status` filled. A run of `pipeline/here` with tiny parameters
goes first; then the flow runs are queued at once: half are that pipeline again (pool cpu; every stage is there), half
`pretrain/cuda` of its windows, each with a seed of its own, so that it trains. With the queue full, in the middle and
at the end of the minutes, which begin when the servers are there, each page of both UIs is opened in Chromium, once
with its cache emptied, then `--rounds` times in turn with the others, and `uplift status` is typed as often. A page's
seconds are those from the navigation to the rows, or the text, that it is opened for; of them are given the CPU time of
the page's process, and the longest that one of its requests waited for a server.

On a machine that others share, seconds are theirs too. `--first` gives the cores to the sessions of servers, browser
and command, and after them of flow runs, before all others (Linux with autogroups; root): as if nobody else were there.

Memory is the proportional set size (PSS) of all processes of a part, every `--every` seconds: what several share is
counted once. `--folder` keeps the store, `samples.csv` and `pages.csv`; the figure is drawn of the first. Ends with an
error where a run did not complete, or a server or worker was started again.
"""

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib
import pandas as pd
import psutil

matplotlib.use("Agg")
from matplotlib.figure import Figure

from benchmarks.status import fill
from benchmarks.two_nights import FINAL, ROOT, TINY, Servers, ask, stack
from docs.chromium import chromium, new_page
from flows.stack.priority import NICER

PARTS = ("prefect", "mlflow", "worker-cpu", "worker-cuda")
FLOW_RUNS, REST = "flow runs", "uplift up"
WIDTH, HEIGHT = 1440, 900  # of the browser's window
STATUS = "uplift status"
FIRST = 15  # nice value of sessions that go before all others
SAMPLES, PAGES = "samples.csv", "pages.csv"
WHEN = ("start", "middle", "end")


def main() -> None:
    """Run the benchmark as described above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000, help="in MLflow")
    parser.add_argument("--queued", type=int, default=100, help="flow runs, half of them for each pool")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=5, help="of all pages, each of three times")
    parser.add_argument("--every", type=float, default=10, help="seconds between two looks at the memory")
    parser.add_argument("--first", action="store_true", help="servers, browser and command before all else (root)")
    parser.add_argument("--database", default="", help="PostgreSQL instead of SQLite")
    parser.add_argument("--folder", type=Path, help="keeps store and measurements; a store that is there is taken")
    parser.add_argument("--figure", type=Path, help="PNG of the memory")
    options = parser.parse_args()
    with TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        states, again = measure(folder, options)
        print(pages_table(folder / PAGES))
        print(memory_table(folder / SAMPLES))
        print(f"flow runs: {dict(states)}; started again: {', '.join(again) or 'nothing'}")
        if options.figure:
            memory(folder / SAMPLES).savefig(options.figure, dpi=110)
    if again or set(states) != {"COMPLETED"}:
        raise SystemExit("not all is as it should be")


def measure(folder: Path, options: argparse.Namespace) -> tuple[Counter[str], list[str]]:
    """Fill, start, queue, and look for so many minutes; how the flow runs ended, and which parts were started again."""
    store = folder / "store"
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    if not store.exists() and not options.database:
        fill(store, options.runs)
    with stack(folder, options.database) as servers:
        if options.database:
            os.environ["MLFLOW_TRACKING_URI"] = servers.mlflow
            fill(store, options.runs)
        before = parts_of(store)
        if options.first:
            go_before([os.getpid(), *before["prefect"], *before["mlflow"]], FIRST)
        began, sampler = time.monotonic(), Sampler(folder / SAMPLES, store, servers, options.every, options.first)
        with sampler, (folder / PAGES).open("w") as file:
            rows = csv.DictWriter(file, ["when", *(field.name for field in fields(Visit))])
            rows.writeheader()
            queued = queue(servers, first_pipeline(servers), options.queued)
            for number, when in enumerate(WHEN):
                time.sleep(max(0.0, began + 30 * number * options.minutes - time.monotonic()))
                for visit in visits(servers, store, options.rounds):
                    rows.writerow({"when": when, **asdict(visit)})
                    file.flush()
            states = until_ended(servers, queued)
        now = parts_of(store)
    return states, [part for part in PARTS if not set(before[part]) <= set(now[part])]


def go_before(pids: Sequence[int], others: int) -> None:
    """Give the cores to the sessions of these processes before other sessions, by so much of a nice value."""
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            Path(f"/proc/{pid}/autogroup").write_text(str(-others))


# ---- what is queued


def first_pipeline(servers: Servers) -> str:
    """Run one to its end; the digest of its windows."""
    folder = servers.logs.parent / "windows"
    before = set(folder.iterdir())
    states = until_ended(servers, [start(servers, "pipeline/here", {"parameters": tiny()})])
    made = [found for found in set(folder.iterdir()) - before if found.is_dir()]
    if set(states) != {"COMPLETED"} or len(made) != 1:
        raise SystemExit(f"the first pipeline: {dict(states)}, {len(made)} folders of windows; see {servers.logs}")
    return made[0].name


def queue(servers: Servers, windows: str, count: int) -> list[str]:
    """Flow runs for both pools, in turn; their ids."""
    found = []
    for number in range(count // 2):
        found.append(start(servers, "pipeline/here", {"parameters": tiny(), "train_on": "cuda"}))
        given = {"windows": windows, "parameters": tiny(f"pretrain.seed={1 + number}")["pretrain"]}
        found.append(start(servers, "pretrain/cuda", given))
    print(f"{len(found)} flow runs are queued", flush=True)
    return found


def tiny(*changes: str) -> dict[str, Any]:
    """Parameters of a pipeline that takes seconds."""
    from data_contracts.presets import load_preset

    return load_preset(str(ROOT / "benchmarks/small.yaml"), [*TINY, *changes]).model_dump(mode="json")


def start(servers: Servers, deployment: str, parameters: dict[str, Any]) -> str:
    """A run of a deployment; its id."""
    found = ask(f"{servers.api}/deployments/name/{deployment}")["id"]
    return str(ask(f"{servers.api}/deployments/{found}/create_flow_run", {"parameters": parameters})["id"])


def until_ended(servers: Servers, runs: Sequence[str]) -> Counter[str]:
    """How often each state came, in the end."""
    ended: dict[str, str] = {}
    while len(ended) < len(runs):
        for run in set(runs) - set(ended):
            state = ask(f"{servers.api}/flow_runs/{run}")["state"]["type"]
            if state in FINAL:
                ended[run] = state
        time.sleep(5)
    return Counter(ended.values())


# ---- memory


def parts_of(store: Path) -> dict[str, list[int]]:
    """Processes by part: servers, workers, flow runs of both workers, and `uplift up` with what keeps the parts."""
    found = defaultdict(list)
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            told = process.environ()
            if told.get("UPLIFT_STORE") == str(store):
                is_flow_run = "PREFECT__FLOW_RUN_ID" in told
                found[FLOW_RUNS if is_flow_run else told.get("UPLIFT_PART", REST)].append(process.pid)
    return {part: sorted(found[part]) for part in (*PARTS, FLOW_RUNS, REST)}


class Sampler(threading.Thread):
    """Writes a row of `samples.csv` every so many seconds while its block lasts."""

    def __init__(self, file: Path, store: Path, servers: Servers, every: float, is_first: bool) -> None:
        super().__init__(daemon=True)
        self.file, self.store, self.servers, self.every, self.is_first = file, store, servers, every, is_first
        self.ended = threading.Event()

    def __enter__(self) -> "Sampler":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.join()

    def run(self) -> None:
        """Until the block ends."""
        began = time.monotonic()
        with self.file.open("w", buffering=1) as file:
            rows = csv.writer(file)
            rows.writerow(["minutes", "load", "waiting", "at work", *(*PARTS, FLOW_RUNS, REST)])
            while not self.ended.wait(self.every):
                counts = [count(self.servers, states) for states in (["SCHEDULED"], ["PENDING", "RUNNING"])]
                parts = parts_of(self.store)
                if self.is_first:
                    go_before(parts[FLOW_RUNS], FIRST - NICER)
                mib = [round(sum(map(pss_mib, pids)), 1) for pids in parts.values()]
                rows.writerow([f"{(time.monotonic() - began) / 60:.2f}", os.getloadavg()[0], *counts, *mib])


def pss_mib(pid: int) -> float:
    """Memory of a process, its share of what several have."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def count(servers: Servers, states: list[str]) -> int | None:
    """Flow runs that are in one of these states and due, if the server says so."""
    due = {"before_": time.strftime("%FT%TZ", time.gmtime())}
    wanted = {"state": {"type": {"any_": states}}, "expected_start_time": due}
    with suppress(OSError):
        return int(ask(f"{servers.api}/flow_runs/count", {"flow_runs": wanted}))
    return None


# ---- the pages


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


def visits(servers: Servers, store: Path, rounds: int) -> Iterator[Visit]:
    """Every page with an empty cache, then all of them again and again; and the command as often."""
    pages = addresses(servers)
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile, chromium(Path(profile), WIDTH, HEIGHT) as browser:
        for name, (address, condition) in pages.items():
            yield visit(browser, name, address, condition, is_first=True)
        for _ in range(rounds):
            for name, (address, condition) in pages.items():
                yield visit(browser, name, address, condition, is_first=False)
            yield status(servers, store)


def addresses(servers: Servers) -> dict[str, tuple[str, str]]:
    """Address of each page, and an expression that is true of its text once it shows what it is for."""
    found = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}, "limit": 1, "sort": "END_TIME_DESC"}
    flow_run = ask(f"{servers.api}/flow_runs/filter", found)[0]["id"]
    asked = {"experiment_ids": ["1"], "filter": "tags.`uplift.stage` = 'pipeline'", "max_results": 2}
    runs = [run["info"]["run_id"] for run in ask(f"{servers.mlflow}/api/2.0/mlflow/runs/search", asked)["runs"]]
    prefect, mlflow, compared = f"{servers.prefect}/v2", f"{servers.mlflow}/#", json.dumps(runs)
    return {
        "Prefect: dashboard": (f"{prefect}/dashboard", "/Flow Runs\\s+\\d+/.test(text) && text.includes('Polled')"),
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


def status(servers: Servers, store: Path) -> Visit:
    """The command, in a terminal as docs/running.md describes it; one that Prefect did not answer names it."""
    command = [sys.executable, "-m", "flows.command_line", "status", "--store", str(store), "--json"]
    told = {"PREFECT_API_URL": servers.api, "MLFLOW_TRACKING_URI": servers.mlflow, "PYTHONPATH": str(ROOT)}
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, check=True, env=os.environ | told, cwd=ROOT, capture_output=True, text=True)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    unasked = " ".join(json.loads(done.stdout)["unasked"])
    return Visit(STATUS, False, seconds, cpu, 0.0, unasked, os.getloadavg()[0])


# ---- what is printed and drawn


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


def memory_table(file: Path) -> str:
    """A line a part: MiB at the beginning, then at every quarter of the time."""
    rows = pd.read_csv(file)
    places = [round(share * (len(rows) - 1)) for share in (0, 0.25, 0.5, 0.75, 1)]
    lines = [f"| MiB after minutes | {' | '.join(f'{rows.minutes[place]:.0f}' for place in places)} | most |"]
    lines += ["|---" * (len(places) + 2) + "|"]
    for part in (*PARTS, FLOW_RUNS, REST):
        cells = [f"{rows[part][place]:.0f}" for place in places] + [f"{rows[part].max():.0f}"]
        lines.append(f"| {part} | {' | '.join(cells)} |")
    return "\n".join(lines)


def memory(file: Path) -> Figure:
    """Memory of each part over time, and below it how many flow runs wait and are at work."""
    rows = pd.read_csv(file)
    figure = Figure(figsize=(9, 5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for part in sorted(PARTS, key=lambda part: -rows[part].iloc[-1]):
        above.plot(rows.minutes, rows[part], label=part, color=f"C{PARTS.index(part)}", linewidth=1.2)
    above.set(ylabel="MiB (PSS)", ylim=(0, None))
    above.set_title("memory of servers and workers while a queue is worked off", fontsize=10)
    for number, counted in enumerate(("waiting", "at work"), start=len(PARTS)):
        below.plot(rows.minutes, rows[counted], label=counted, color=f"C{number}", linewidth=1.2)
    below.set(xlabel="minutes", ylabel="flow runs", ylim=(0, None))
    for axes in (above, below):
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
    return figure


if __name__ == "__main__":
    main()
