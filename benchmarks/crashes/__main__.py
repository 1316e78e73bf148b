"""Does each crash for real while a night runs, and checks what is left of it.

    python -m benchmarks.crashes [--only pretrain mlflow] [--list] [--down 60] [--hours 0.5] [--keep FOLDER]

For every case `uplift up` is started in a store of its own, on free ports, and a run of `pipeline/nightly` with a night
small enough for a minute. The crash is done at the moment that the case names; then the night ends by itself, or, where
its own process died or it failed, by one command that is printed and run: `prefect flow-run retry ID`. `--down` seconds
are those until a server that was killed is started again (UPLIFT_RESTART_SECONDS).

Then the store must be as one night leaves it that nobody disturbed (made first, by `uplift pipeline`): the same digests
and no other folder, each as `uplift check` wants it; in the folders of clips, windows and checkpoints the same bytes;
every step of training logged once; one version with the same aliases; nothing half done; no run that is still at work
in MLflow or in Prefect, `UPLIFT_SILENT_MINUTES` (3) and some more minutes later at the latest. A line of a Markdown
table is printed for each case; ends with an error where one is not as promised.
"""

import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from benchmarks.crashes.cases import CASES, OTHERS
from benchmarks.crashes.nights import mlflow_runs, outcome, undisturbed
from benchmarks.crashes.target import SILENT_MINUTES, NotAsPromised, Stack, flow_of, in_a_line, start_stack
from benchmarks.stack import FINAL, StackEnded, ask
from data_contracts.errors import InputError

HAND_SECONDS = 20  # until somebody types the command: a worker says twice that a process died, some seconds apart
TABLE = "| case | what was done | how the night ended | seconds | as undisturbed |\n|---|---|---|---:|---|"


def main() -> None:
    """Run it as described above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(CASES | OTHERS), metavar="CASE", default=list(CASES | OTHERS))
    parser.add_argument("--list", action="store_true", help="the cases, and nothing is done")
    parser.add_argument("--down", type=float, default=60, help="seconds until a part that was killed starts again")
    parser.add_argument("--hours", type=float, default=0.5, help="that a case may take at most")
    parser.add_argument(
        "--keep", help="a folder for the stores, in which the undisturbed one is used again; else removed"
    )
    options = parser.parse_args()
    if options.list:
        for name, case in [*CASES.items(), *OTHERS.items()]:
            print(f"{name:14} {case.__doc__}")
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every stack ends
    root = Path(options.keep or mkdtemp(prefix="uplift-crashes-")).resolve()
    root.mkdir(parents=True, exist_ok=True)
    try:
        reference = undisturbed(root)
        print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores\n\n{TABLE}", flush=True)
        wrong = [name for name in options.only if not run_case(name, root, reference, options)]
    finally:
        if not options.keep:
            shutil.rmtree(root, ignore_errors=True)
    if wrong:
        raise SystemExit(f"not as promised: {', '.join(wrong)}")


def run_case(name: str, root: Path, reference: dict[str, Any], options: argparse.Namespace) -> bool:
    """Its line of the table; whether all was as promised."""
    started, folder, ended, verdict = time.monotonic(), root / name, "", "yes"
    stack, what = None, ""
    shutil.rmtree(folder, ignore_errors=True)  # of a time before
    try:
        if name in OTHERS:
            what, ended = OTHERS[name](root, options)
            print(f"| `{name}` | {what} | {ended} | {time.monotonic() - started:.0f} | {verdict} |", flush=True)
            return True
        with start_stack(folder, options.down, options.hours, on_tmpfs="disk" in name) as stack:
            started = time.monotonic()
            stack.start_night()
            CASES[name](stack)
            ended = bring_to_its_end(stack)
            seconds = time.monotonic() - started
            must_be_over(stack)
            must_be_as(reference, stack)
    except (NotAsPromised, StackEnded, InputError) as error:
        seconds, verdict = time.monotonic() - started, f"**no**: {error}"
    what = "; ".join(stack.said) if stack else what
    print(f"| `{name}` | {what} | {ended} | {seconds:.0f} | {verdict} |", flush=True)
    return verdict == "yes"


def bring_to_its_end(stack: Stack) -> str:
    """Wait for the night, by one command more where it needs that; says how it ended."""
    state = final_state(stack)
    if state["type"] == "COMPLETED":
        again = runs_again(stack)
        return "by itself" + (f", {again} started again" if again else "")
    why, command = in_a_line(state), ["prefect", "flow-run", "retry", stack.night]
    print(f"    the night is {why}\n    {' '.join(command)}", flush=True)
    environment = {**os.environ, "PREFECT_API_URL": stack.api}
    time.sleep(HAND_SECONDS)
    subprocess.run([sys.executable, "-m", *command], check=True, env=environment, stdout=subprocess.DEVNULL)
    state = final_state(stack)
    if state["type"] != "COMPLETED":
        raise NotAsPromised(f"the night is {why}, and after `prefect flow-run retry` {in_a_line(state)}")
    return f"{why.partition('. ')[0]}. Then `prefect flow-run retry`"


def final_state(stack: Stack) -> dict[str, Any]:
    """Of the night, once it has ended."""
    end = time.monotonic() + 3600 * stack.hours
    while time.monotonic() < end:
        with suppress(OSError):
            state = stack.state()
            if state["type"] in FINAL:
                return state
        time.sleep(1)
    raise NotAsPromised(f"the night is still {in_a_line(stack.state())} after {stack.hours:g} hours")


def runs_again(stack: Stack) -> str:
    """Stages whose process died and which the night started again."""
    crashed = ask(f"{stack.api}/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["CRASHED"]}}}})
    return ", ".join(sorted({flow_of(stack.api, run) for run in crashed}))


def must_be_over(stack: Stack) -> None:
    """No run is at work in Prefect or MLflow, once silence was noticed."""
    end = time.monotonic() + 60 * (SILENT_MINUTES + 3)
    asked = {"flow_runs": {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING", "PAUSED"]}}}}
    while (at_work := ask(f"{stack.api}/flow_runs/filter", asked)) and time.monotonic() < end:
        time.sleep(5)
    if at_work:
        names = [f"{flow_of(stack.api, run)} {run['name']}" for run in at_work]
        raise NotAsPromised(f"still {at_work[0]['state']['name']} in Prefect: {', '.join(names)}")
    if running := mlflow_runs(stack.mlflow, "attributes.status = 'RUNNING'"):
        raise NotAsPromised(f"still RUNNING in MLflow: {', '.join(run['info']['run_name'] for run in running)}")


def must_be_as(reference: dict[str, Any], stack: Stack) -> None:
    """The store and its registry are as the undisturbed night's."""
    found = outcome(stack.store, stack.mlflow)
    for what, wanted_ in reference.items():
        if found[what] != wanted_:
            raise NotAsPromised(f"{what}: {found[what]}, undisturbed {wanted_}")
    for run in mlflow_runs(stack.mlflow, "tags.`uplift.stage` = 'pretrain'"):
        history = ask(
            f"{stack.mlflow}/api/2.0/mlflow/metrics/get-history?run_id={run['info']['run_id']}&metric_key=loss"
        )
        steps = [entry.get("step", 0) for entry in history["metrics"]]
        if len(steps) != len(set(steps)):
            raise NotAsPromised(f"a step was logged twice: {steps}")


if __name__ == "__main__":
    main()
