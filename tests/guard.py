"""End a process group when the parent of this process dies: `python guard.py PARENT_PID LEADER_PID`.

The guard compares its parent's pid in a loop, which works on Linux and macOS, for a parent that was killed with
SIGKILL, and for a daemon that is not a child of the parent. The group receives SIGTERM and, 30 seconds later, SIGKILL.
"""

import os
import signal
import sys
import time
from contextlib import suppress

SECONDS_TO_END = 30.0


def main(parent: int, leader: int) -> None:
    """Wait until the parent dies, then end the group of the leader."""
    while os.getppid() == parent:
        time.sleep(0.5)
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGTERM)
        deadline = time.monotonic() + SECONDS_TO_END
        while time.monotonic() < deadline:
            os.killpg(leader, 0)
            time.sleep(0.5)
        os.killpg(leader, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
