"""A training run that is asked to end: at its next step, with its work saved."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interruption:
    """While the block runs, SIGTERM only takes note; `hand_on` gives it to whoever would have had it.

    Signals reach the main thread alone: elsewhere the block changes nothing. Of several processes one saves: the others
    (`heed` false) go on with it until it has.
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
        """End as SIGTERM would have ended it."""
        signal.signal(signal.SIGTERM, self._before or signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
        raise SystemExit(128 + signal.SIGTERM)  # where that was ignored

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = self._heed
