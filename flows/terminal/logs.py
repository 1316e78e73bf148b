"""Prefect's log handlers, which also escape control characters in the messages.

Prefect takes their names from `PREFECT_LOGGING_HANDLERS_CONSOLE_CLASS` and `PREFECT_LOGGING_HANDLERS_API_CLASS`.
"""

import logging

from prefect.logging.handlers import APILogHandler, PrefectConsoleHandler

from data_contracts.text import printable


class _Printable(logging.Handler):
    def format(self, record: logging.LogRecord) -> str:
        """Return a record as text; line breaks are not escaped, because tracebacks have several lines."""
        return printable(super().format(record), keep="\n\t")


class ConsoleHandler(_Printable, PrefectConsoleHandler):
    """Handler that writes records to the terminal."""


class ApiHandler(_Printable, APILogHandler):
    """Handler that sends records to the Prefect server; `prefect flow-run logs` prints them."""
