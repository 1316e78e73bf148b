"""Artifacts on the Prefect server of the flow tests; other tests of the same worker have written some, too."""

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort


def artifacts_of(key: str) -> list[str]:
    """Return the texts of all artifacts of a key."""
    return [text for _, text in shown_as(key)]


def shown_as(key: str) -> list[tuple[str | None, str]]:
    """Return the description and the text of all artifacts of a key, the newest first."""
    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=wanted, sort=ArtifactSort.CREATED_DESC)
    return [(artifact.description, str(artifact.data)) for artifact in found]
