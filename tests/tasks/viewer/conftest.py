"""Fixtures that open pages in Chromium; their tests are skipped without a browser."""

from collections.abc import Iterator

import pytest

from docs.chromium import NoBrowserError, Page, chromium, new_page


@pytest.fixture(scope="module")
def browser_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    try:
        with chromium(tmp_path_factory.mktemp("profile")) as address:
            yield address
    except NoBrowserError as error:
        pytest.skip(str(error))


@pytest.fixture
def page(browser_address: str) -> Iterator[Page]:
    with new_page(browser_address) as opened:
        yield opened
