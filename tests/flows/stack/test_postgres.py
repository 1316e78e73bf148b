"""The stack on a real PostgreSQL: both servers in one database, a schema each, and what a night needs in it."""

from contextlib import closing

import yaml
from prefect.client.orchestration import get_client

from flows.stack.settings import ROOT
from tests.flows.stack.conftest import stack
from tests.flows.stack.test_up import status


def test_both_servers_keep_what_they_know_in_postgresql(database, tmp_path):
    import psycopg2

    with stack(tmp_path, database_url=database, workers="cuda") as (settings, _):
        with get_client(sync_client=True) as client:
            for entry in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]:
                client.read_deployment_by_name(f"{entry['entrypoint'].partition(':')[2]}/{entry['name']}")
        assert status(f"{settings.mlflow_url}/health") == 200
        with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT table_schema FROM information_schema.tables WHERE table_name = 'alembic_version'")
            assert {row[0] for row in cursor.fetchall()} == {"prefect", "mlflow"}
            cursor.execute("SELECT count(*) FROM prefect.deployment")
            assert cursor.fetchone()[0] >= 11
            cursor.execute("SELECT count(*) FROM mlflow.experiments")
            assert cursor.fetchone()[0] >= 1
    assert not list(settings.root.glob("*.db"))
