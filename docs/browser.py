"""Start the Chromium of this machine with Playwright, for tests of HTML pages and for `docs/screenshots.py`."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Error, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


class NoBrowserError(Exception):
    """No browser was found, or the browser did not start."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a headless browser and yield it. Each of its pages (`Browser.new_page`) has a profile of its own.

    Raises
    ------
    NoBrowserError
        No browser is on PATH or in the variable CHROMIUM, or the browser did not start.
    """
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        raise NoBrowserError(f"no browser: install one of {', '.join(NAMES)}, or set CHROMIUM to the path of a browser")
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=program)
        except Error as error:
            raise NoBrowserError(f"{program} did not start: {error.message.splitlines()[0]}") from error
        yield browser
        browser.close()
