"""The stack on a real PostgreSQL: both servers in one database, each with its schema."""

from contextlib import closing

import yaml
from prefect.client.orchestration import get_client

from flows.deployment.settings import ROOT
from tests.flows.deployment.conftest import request, stack


def test_both_servers_store_everything_in_postgresql_and_mlflow_requires_the_password(database, tmp_path):
    import psycopg2

    with stack(tmp_path, database_url=database, workers="cuda") as (settings, _):
        with get_client(sync_client=True) as client:
            for entry in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]:
                client.read_deployment_by_name(f"{entry['entrypoint'].partition(':')[2]}/{entry['name']}")
        for url, status in ((f"{settings.mlflow_url}/version", 401), (f"{settings.mlflow_url}/health", 200)):
            assert [request(url)[0] for _ in range(8)] == 8 * [status]  # four processes answer
        assert [request(f"{settings.mlflow_url}/version", settings.password())[0] for _ in range(8)] == 8 * [200]
        with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT table_schema FROM information_schema.tables WHERE table_name = 'alembic_version'")
            assert {row[0] for row in cursor.fetchall()} == {"prefect", "mlflow"}
            cursor.execute("SELECT count(*) FROM prefect.deployment")
            assert cursor.fetchone()[0] >= 11
            cursor.execute("SELECT count(*) FROM mlflow.experiments")
            assert cursor.fetchone()[0] >= 1
    assert [file.name for file in settings.root.glob("*.db")] == ["mlflow-auth.db"]
