"""Let a training run that receives SIGTERM save its work and end at its next step."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interruption:
    """Context manager that records SIGTERM in `asked`; `hand_on` then passes the signal to the previous handler.

    Signals reach the main thread only, so in other threads the block changes nothing. If there are several processes,
    only one saves; the others (`heed` false) continue until it has saved.
    """

    def __init__(self, heed: bool = True) -> None:
        self.asked = False
        self._heed = heed
        self._handled = threading.current_thread() is threading.main_thread()
        self._before: Any = None

    def __enter__(self) -> "Interruption":
        if self._handled:
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handled:
            signal.signal(signal.SIGTERM, self._before or signal.SIG_DFL)

    def hand_on(self) -> None:
        """End the process as SIGTERM would have ended it."""
        signal.signal(signal.SIGTERM, self._before or signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
        raise SystemExit(128 + signal.SIGTERM)  # if the previous handler ignored the signal

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = self._heed
