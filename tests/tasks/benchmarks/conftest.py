import pytest

from data_contracts.parameters import PipelineParameters


@pytest.fixture
def parameters():
    return PipelineParameters()
