"""The servers of the stack on a real PostgreSQL: both in one database, each with its schema."""

import sys
from contextlib import ExitStack, closing

from flows.deployment.settings import StackSettings
from tests.flows.deployment.conftest import PASSWORD, environment, request
from tests.ports import free_ports
from tests.servers import serving


def test_both_servers_store_everything_in_postgresql_and_mlflow_requires_the_password(database, tmp_path):
    import psycopg2

    prefect, mlflow = free_ports(2)
    values = {"database_url": database, "api_password": PASSWORD, "prefect_port": prefect, "mlflow_port": mlflow}
    settings = StackSettings(store=str(tmp_path / "store"), **values)
    command = [sys.executable, "-m", "flows.deployment.services"]
    with ExitStack() as servers:
        for name, port, path in (("prefect", prefect, "/api/health"), ("mlflow", mlflow, "/health")):
            server = serving([*command, name], port, path, tmp_path / f"{name}.log", environment(tmp_path, **values))
            servers.enter_context(server)
        assert request(f"{settings.prefect_url}/api/flows/", PASSWORD, "POST", {"name": "a flow"})[0] == 201
        url = f"{settings.mlflow_url}/api/2.0/mlflow/experiments/create"
        assert request(url, PASSWORD, "POST", {"name": "an experiment"})[0] == 200
        for url, status in ((f"{settings.mlflow_url}/version", 401), (f"{settings.mlflow_url}/health", 200)):
            assert [request(url)[0] for _ in range(8)] == 8 * [status]  # four processes answer
        assert [request(f"{settings.mlflow_url}/version", PASSWORD)[0] for _ in range(8)] == 8 * [200]
        with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT table_schema FROM information_schema.tables WHERE table_name = 'alembic_version'")
            assert {row[0] for row in cursor.fetchall()} == {"prefect", "mlflow"}
            cursor.execute("SELECT name FROM prefect.flow")
            assert cursor.fetchall() == [("a flow",)]
            cursor.execute("SELECT name FROM mlflow.experiments WHERE name LIKE 'an %'")
            assert cursor.fetchall() == [("an experiment",)]
    assert [file.name for file in settings.root.glob("*.db")] == ["mlflow-auth.db"]
