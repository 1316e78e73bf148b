"""Fixtures that open pages in Chromium; their tests are skipped without a browser."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from docs.browser import NoBrowserError, chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    try:
        with chromium() as started:
            yield started
    except NoBrowserError as error:
        pytest.skip(str(error))


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page; its test fails if a script of the page fails or the browser reports an error."""
    page = browser.new_page(viewport={"width": 1200, "height": 760})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield page
    page.close()
    assert errors == []
