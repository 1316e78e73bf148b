"""Logs and signals of commands. A command runs a stage without Prefect, and a pipeline as a Prefect flow."""

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from data_contracts.errors import InputError
from data_contracts.text import printable
from tasks.stage_runs.prefect_runs import LOGGER

_LOGGERS = (LOGGER, "model", "data_contracts")  # whose messages of level INFO the terminal shows


def run_pipeline(**arguments: Any) -> Any:
    """Run the pipeline flow in this process; the command, not Prefect, prints an InputError, in one line."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from flows.pipeline import pipeline

    for handler in logging.getLogger().handlers:  # Prefect's console handler
        handler.addFilter(_Refusals())
    return pipeline(**arguments)


@contextmanager
def computing() -> Iterator[None]:
    """Log to the terminal, and turn SIGTERM into an exception that removes partial results."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    root, levels = logging.getLogger(), {name: logging.getLogger(name).level for name in _LOGGERS}
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_PrintableFormatter("%(asctime)s.%(msecs)03d | %(levelname)-7s | %(message)s", "%H:%M:%S"))
    root.addHandler(handler)
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _end) if in_main_thread else None
    try:
        yield
    finally:
        if in_main_thread:
            signal.signal(signal.SIGTERM, before)
        root.removeHandler(handler)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _end(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


class _PrintableFormatter(logging.Formatter):
    """Log formatter that escapes control characters."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), keep="\n\t")


class _Refusals(logging.Filter):
    """Log filter that drops Prefect's records about an InputError, because the command prints the error in one line."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], InputError):
            return False
        return record.levelno < logging.ERROR or not any(
            name in record.getMessage() for name in ("InputError", "RefusedPickle")
        )
