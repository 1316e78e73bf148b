"""A part of `uplift up` that is started again where it was killed: `python -m flows.stack.restarting prefect`.

Notable decisions:
- a part that ends by itself soon after its start ends everything: it says why in its log, and would do it again. One
  that was killed (-9, out of memory), or failed after it had been well for `SETTLED_SECONDS` (as workers do when a
  server's disk is full), may be well the next time: it is started again after UPLIFT_RESTART_SECONDS, then after twice
  as long, at most `AT_MOST` times within `WITHIN_SECONDS`. Who was told to end, by whomever, is not;
- what is left of it is killed first, which else would hold its port. A worker's flow runs are not: each
  is in a group of its own, and ends by itself, Crashed, at the next line that it says, to a pipe that nobody reads.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

from flows.stack.settings import read_settings

PART = "UPLIFT_PART"  # which part a process is of, in its environment
AT_MOST, WITHIN_SECONDS = 5, 3600.0
SETTLED_SECONDS = 60.0
_TOLD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main() -> None:
    """Run the part that is named until it ends by itself, or this process is told to end."""
    sys.exit(
        keep(sys.argv[1], [sys.executable, "-m", "flows.stack.parts", sys.argv[1]], read_settings().restart_seconds)
    )


def keep(part: str, command: list[str], seconds: float) -> int:
    """Run a part's command, again after so many seconds where it is killed or fails late; its exit code in the end."""
    told, settled = threading.Event(), False
    at_work: list[subprocess.Popen[bytes]] = []

    def end(number: int, _: object) -> None:
        told.set()
        for process in at_work:
            process.send_signal(number)

    for number in _TOLD:
        signal.signal(number, end)
    deaths: list[float] = []
    while True:
        began = time.monotonic()
        process = subprocess.Popen(command, env={**os.environ, PART: part}, start_new_session=True)
        at_work[:] = [process]
        if told.is_set():  # while it was started
            process.terminate()
        code = process.wait()
        settled = settled or time.monotonic() - began > SETTLED_SECONDS
        if code == 0 or -code in _TOLD or (code > 0 and not settled) or told.is_set():
            return max(code, 0)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        deaths = [one for one in deaths if time.monotonic() - one < WITHIN_SECONDS] + [time.monotonic()]
        how = f"failed (exit code {code})" if code > 0 else f"was killed ({signal.Signals(-code).name})"
        if len(deaths) > AT_MOST:
            print(f"uplift: {part} {how}, {len(deaths)} times within an hour", flush=True)
            return code if code > 0 else 128 - code
        pause = seconds * 2 ** (len(deaths) - 1)
        print(f"uplift: {part} {how}; it is started again in {pause:g} s", flush=True)
        if told.wait(pause):
            return 0


if __name__ == "__main__":
    main()
