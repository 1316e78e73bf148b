from pathlib import Path

import pytest

from tests.tasks.maintenance.history import History


@pytest.fixture
def history(empty_store: Path) -> History:
    """History of an empty store."""
    return History(empty_store)
