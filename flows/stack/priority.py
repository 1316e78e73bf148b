"""Who gets the cores when there are too few: servers and workers before flow runs, and so before all that trains.

A nice value alone does not do it. Linux with autogroups (`/proc/sys/kernel/sched_autogroup_enabled`, as Debian and
Ubuntu have it) shares the cores among sessions first, and a nice value counts within its session. Each part of the
stack and each flow run is a session of its own, so that what is said of the process is said of its session too.
"""

import os
import time
from pathlib import Path

NICER = 5  # a third of a server's share; with 10, a ninth, what others do on the machine stops a flow run
_OF_SESSION = Path("/proc/self/autogroup")
_TRIES, _PAUSE_SECONDS = 10, 0.2  # the kernel takes ten such words a second, of all processes together


def step_back() -> None:
    """Let others have the cores first: this process, its session, and what they will start."""
    os.nice(max(0, NICER - os.nice(0)))
    for _ in range(_TRIES):
        try:
            _OF_SESSION.write_text(str(NICER))
        except BlockingIOError:
            time.sleep(_PAUSE_SECONDS)
        except OSError:  # no autogroups, or /proc is read only
            return
        else:
            return
