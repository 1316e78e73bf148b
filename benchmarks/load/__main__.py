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
import os
import time
from collections import Counter
from dataclasses import asdict, fields
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.load.memory import FIRST, PARTS, Sampler, go_before, memory, memory_table, parts_of
from benchmarks.load.pages import WHEN, Visit, pages_table, visits
from benchmarks.stack import COUNTED, Servers, stack, start_run, tiny, until_ended
from benchmarks.status import fill

SAMPLES, PAGES = "samples.csv", "pages.csv"


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
    with stack(folder, COUNTED | {"UPLIFT_DATABASE_URL": options.database}) as servers:
        if options.database:
            os.environ["MLFLOW_TRACKING_URI"] = servers.mlflow
            fill(store, options.runs)
        before = parts_of(store)
        if options.first:
            go_before([os.getpid(), *before["prefect"], *before["mlflow"]], FIRST)
        began, sampler = time.monotonic(), Sampler(folder / SAMPLES, servers, options.every, options.first)
        with sampler, (folder / PAGES).open("w") as file:
            rows = csv.DictWriter(file, ["when", *(field.name for field in fields(Visit))])
            rows.writeheader()
            queued = queue(servers, first_pipeline(servers), options.queued)
            for number, when in enumerate(WHEN):
                time.sleep(max(0.0, began + 30 * number * options.minutes - time.monotonic()))
                for visit in visits(servers, options.rounds):
                    rows.writerow({"when": when, **asdict(visit)})
                    file.flush()
            states = Counter(until_ended(servers.api, queued))
        now = parts_of(store)
    return states, [part for part in PARTS if not set(before[part]) <= set(now[part])]


def first_pipeline(servers: Servers) -> str:
    """Run one to its end; the digest of its windows."""
    given, folder = {"parameters": tiny().model_dump(mode="json")}, servers.store / "windows"
    before = set(folder.iterdir())
    states = list(until_ended(servers.api, [start_run(servers.api, "pipeline/here", given)]))
    made = [found for found in set(folder.iterdir()) - before if found.is_dir()]
    if states != ["COMPLETED"] or len(made) != 1:
        raise SystemExit(f"the first pipeline: {states}, {len(made)} folders of windows; see {servers.logs}")
    return made[0].name


def queue(servers: Servers, windows: str, count: int) -> list[str]:
    """Flow runs for both pools, in turn; their ids."""
    found, there = [], tiny().model_dump(mode="json")
    for number in range(count // 2):
        found.append(start_run(servers.api, "pipeline/here", {"parameters": there, "train_on": "cuda"}))
        given = {"windows": windows, "parameters": tiny(f"pretrain.seed={1 + number}").pretrain.model_dump(mode="json")}
        found.append(start_run(servers.api, "pretrain/cuda", given))
    print(f"{len(found)} flow runs are queued", flush=True)
    return found


if __name__ == "__main__":
    main()
