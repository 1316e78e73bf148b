from pathlib import Path

import pytest

from tests.tasks.cleaning.history import History


@pytest.fixture
def history(empty_store: Path) -> History:
    """Of a store in which nothing has been run."""
    return History(empty_store)
