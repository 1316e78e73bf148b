"""A walking person, lifted."""

import numpy as np
import pytest

from data_contracts.motion.motion import Motion
from tests.tasks.lifting.exports.motions import motion_of


@pytest.fixture(scope="session")
def lifted(walking: np.ndarray) -> Motion:
    return motion_of(walking)
