"""Memory of the stack's parts while it is at work, and who gets the cores."""

import csv
import os
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import matplotlib
import pandas as pd
import psutil

from benchmarks.stack import Servers, ask
from flows.stack.priority import NICER

matplotlib.use("Agg")
from matplotlib.figure import Figure

PARTS = ("prefect", "mlflow", "worker-cpu", "worker-cuda")
FLOW_RUNS, REST = "flow runs", "uplift up"
FIRST = 15  # nice value of sessions that go before all others


def go_before(pids: Sequence[int], others: int) -> None:
    """Give the cores to the sessions of these processes before other sessions, by so much of a nice value."""
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            Path(f"/proc/{pid}/autogroup").write_text(str(-others))


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

    def __init__(self, file: Path, servers: Servers, every: float, is_first: bool) -> None:
        super().__init__(daemon=True)
        self.file, self.servers, self.every, self.is_first = file, servers, every, is_first
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
                parts = parts_of(self.servers.store)
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
