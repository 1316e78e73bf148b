"""Links to what a run keeps, as another page shows them: of a server, and none where there is no server."""

import mlflow
import pytest
from mlflow import MlflowClient

from tasks.tracking import links


def test_without_a_server_there_is_no_page_of_a_run(empty_store):
    assert links.version_page(empty_store, 3) is None
    assert links.run_picture(empty_store, "0" * 32, "durations.png") is None


@pytest.fixture
def with_server(monkeypatch):
    """As if a store's runs were those of a server, which is not asked."""
    monkeypatch.setattr(links, "connect", lambda _: MlflowClient("http://127.0.0.1:5000/"))
    yield
    mlflow.set_tracking_uri(None)


def test_with_a_server_they_are_addresses_of_its_pages(with_server, tmp_path):
    assert links.version_page(tmp_path, 3) == "http://127.0.0.1:5000/#/models/pose-uplift/versions/3"
    assert links.run_picture(tmp_path, "ab", "durations.png") == (
        "http://127.0.0.1:5000/get-artifact?path=durations.png&run_uuid=ab"
    )
