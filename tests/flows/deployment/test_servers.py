"""Both servers of a stack without settings: password, foreign web pages, files, a second terminal, and kill -9."""

import json
import os
import shlex
import signal
import sqlite3
import stat
import subprocess
from contextlib import closing

import psutil
import pytest
from filelock import FileLock

from flows.deployment import up
from flows.deployment.settings import PASSWORD_FILE, ROOT
from tests.flows.deployment.conftest import COMMAND, environment, request, services_of, stack, terminal_of, wait_for
from tests.ports import free_ports

OPEN_IN_MLFLOW = ("/health", "/api/3.0/mlflow/server-info", "/ajax-api/3.0/mlflow/server-info", "/static-files")


@pytest.fixture(scope="module")
def running(folder):
    with stack(folder, workers="cuda") as (settings, process):
        yield settings, process


@pytest.fixture
def settings(running):
    return running[0]


@pytest.fixture
def password(settings) -> str:
    return settings.password()


@pytest.fixture
def servers(settings) -> list[tuple[str, str]]:
    """URL of each server, and a path that needs the password."""
    return [(settings.prefect_url, "/api/admin/version"), (settings.mlflow_url, "/")]


def uplift(settings, *words: str, **variables: str) -> subprocess.CompletedProcess:
    """Run a command in a second terminal that has the stack's variables of `.env`, but no password."""
    ports = {"prefect_port": settings.prefect_port, "mlflow_port": settings.mlflow_port}
    shell = environment(settings.root.parent, **ports) | variables
    return subprocess.run([*COMMAND, *words], cwd=ROOT, env=shell, capture_output=True, text=True)


def test_a_password_is_generated_and_both_servers_require_it(servers, password, folder):
    assert len(password) >= 12
    for url, path in servers:
        assert request(url + path)[0] == request(url + path, "a wrong password")[0] == 401
        assert request(url + path, password)[0] == 200
    assert password not in terminal_of(folder)
    assert str(folder / "store" / PASSWORD_FILE) in terminal_of(folder)


def test_a_foreign_host_name_is_refused_with_and_without_password(servers, password):
    for url, path in servers:
        for host in ("evil.example", "evil.example:4200", "127.0.0.1.evil.example", "10.evil.example"):
            for secret in (None, password):
                assert request(url + path, secret, Host=host)[0] in (400, 403)
        port = url.rpartition(":")[2]
        assert request(url + path, password, Host=f"localhost:{port}")[0] == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example"])
def test_a_request_of_a_foreign_page_is_refused_even_with_the_password(settings, password, origin):
    flow = {"name": "from a foreign page"}
    for secret in (None, password):
        status, _ = request(f"{settings.prefect_url}/api/flows/", secret, "POST", flow, Origin=origin)
        assert status == 403
        url = f"{settings.mlflow_url}/api/2.0/mlflow/experiments/create"
        assert request(url, secret, "POST", {"name": "from a foreign page"}, Origin=origin)[0] in (401, 403)
    assert request(url, password, "POST", {"name": "from a foreign page"}, Origin=origin)[0] == 403
    assert request(f"{settings.prefect_url}/api/flows/name/from%20a%20foreign%20page", password)[0] == 404


def test_the_own_page_of_each_server_may_send_requests(settings, password):
    for host in ("127.0.0.1", "localhost"):
        own = f"http://{host}:{settings.prefect_port}"
        assert request(f"{own}/api/flows/filter", password, "POST", {}, Origin=own)[0] == 200
        assert "<html" in request(own)[1].lower()
        own = f"http://{host}:{settings.mlflow_port}"
        wanted = {"max_results": 5}
        url = f"{own}/ajax-api/2.0/mlflow/experiments/search"
        assert request(url, password, "POST", wanted, Origin=own)[0] == 200
        assert request(own, password)[0] == 200


def test_a_websocket_of_a_foreign_page_is_refused(settings):
    handshake = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    handshake |= {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "prefect"}
    for origin, status in ((settings.prefect_url, 101), ("https://evil.example", 403)):
        assert request(f"{settings.prefect_url}/api/events/in", Origin=origin, **handshake)[0] == status


def test_every_route_of_mlflow_requires_the_password(settings):
    """Routes come from MLflow's own application, which is imported in another process."""
    code = (
        "import json; from mlflow.server.fastapi_app import app; from mlflow.server import app as flask;"
        "flat = lambda rs: [r for one in rs for r in (flat(one.original_router.routes)"
        " if hasattr(one, 'original_router') else [one])];"
        "native = [(m, r.path) for r in flat(app.routes) for m in getattr(r, 'methods', None) or []];"
        "print(json.dumps(native + [(m, r.rule) for r in flask.url_map.iter_rules() for m in r.methods]))"
    )
    variables = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run([COMMAND[0], "-c", code], env=variables, check=True, capture_output=True, text=True)
    routes = [(method, path) for method, path in json.loads(done.stdout.splitlines()[-1]) if method != "OPTIONS"]
    assert len(routes) > 200
    allowed = []
    for method, rule in sorted(set(map(tuple, routes))):
        path = "".join("1" if part.startswith(("<", "{")) else part for part in _parts(rule))
        status, _ = request(settings.mlflow_url + path, None, method)
        if status != 401 and not rule.startswith(OPEN_IN_MLFLOW):
            allowed.append((method, rule, status))
    assert allowed == []


def _parts(rule: str) -> list[str]:
    """Split a route into text and its `<converter:name>` or `{name:path}` placeholders."""
    parts, depth = [""], 0
    for letter in rule:
        if letter in "<{":
            depth += 1
            parts.append("")
        parts[-1] += letter
        if letter in ">}":
            depth -= 1
            parts.append("")
    assert depth == 0
    return parts


def test_no_other_user_can_read_databases_password_or_logs(settings):
    names = ("prefect.db", "mlflow.db", "mlflow-auth.db", PASSWORD_FILE, "logs/prefect.log", "logs/mlflow.log")
    for name in names:
        assert stat.S_IMODE((settings.root / name).stat().st_mode) == 0o600, name
    for name in ("prefect.db", "mlflow.db"):
        with closing(sqlite3.connect(settings.root / name)) as database:
            assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_no_secret_is_on_a_command_line(running, password):
    assert not [one.cmdline() for one in services_of(running[1]) if password in " ".join(one.cmdline())]


def test_a_second_terminal_uses_the_servers(settings, password):
    exported = dict(shlex.split(line)[1].split("=", 1) for line in uplift(settings, "env").stdout.splitlines() if line)
    assert exported["PREFECT_API_AUTH_STRING"] == f"uplift:{password}"
    assert exported["MLFLOW_TRACKING_URI"] == settings.mlflow_url
    listed = subprocess.run(
        [COMMAND[0], "-m", "prefect", "deployment", "ls"],
        env=environment(settings.root.parent) | exported,
        capture_output=True,
        text=True,
    )
    assert "pipeline/nightly" in listed.stdout, listed.stderr
    shown = uplift(settings, "status", "--json", **exported)
    assert shown.returncode == 0, shown.stderr


def test_registration_uses_the_password_of_the_store(settings):
    registered = uplift(settings, "register")
    assert registered.returncode == 0, registered.stderr
    assert "automations: 1" in registered.stdout


def test_a_wrong_password_is_one_line(settings):
    refused = uplift(settings, "register", UPLIFT_API_PASSWORD="a wrong password")
    assert refused.returncode == 2
    assert "refuses the password" in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr


@pytest.mark.runs_last
def test_kill_9_of_uplift_up_ends_all_services(running):
    settings, process = running
    services = services_of(process)
    assert len(services) >= 9
    refused = uplift(settings, "up")
    assert refused.returncode == 2
    assert f"Stop it with: kill {process.pid}" in refused.stderr
    assert str(next(one.pid for one in services if "uvicorn" in " ".join(one.cmdline()))) in refused.stderr
    os.kill(process.pid, signal.SIGKILL)  # it stays a zombie until this test waits for it
    _, alive = psutil.wait_procs([one for one in services if one.pid != process.pid], timeout=60)
    assert alive == []
    wait_for(lambda: not any(_is_open(port) for port in (settings.prefect_port, settings.mlflow_port)))
    with FileLock(settings.root / ".up.lock").acquire(timeout=10):
        pass


def _is_open(port: int) -> bool:
    try:
        request(f"http://127.0.0.1:{port}/health")
    except OSError:
        return False
    return True


def test_a_damaged_database_is_named_with_its_log_file(tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    (store / "prefect.db").write_bytes(b"no database" * 1000)
    prefect, mlflow = free_ports(2)
    shell = environment(tmp_path, prefect_port=prefect, mlflow_port=mlflow)
    failed = subprocess.run([*COMMAND, "up"], cwd=ROOT, env=shell, capture_output=True, text=True)
    assert failed.returncode == 1
    assert "prefect.db is damaged (file is not a database). Restore a backup" in failed.stdout
    assert str(store / "logs" / "prefect.log") in failed.stdout


def test_a_killed_service_is_named_although_its_child_still_runs(tmp_path):
    code = """if True:
        import os, pathlib, sys
        from flows.deployment.up import SERVICE, UP, Stack
        stack = Stack(pathlib.Path(sys.argv[1]))
        environment = {**os.environ, "UPLIFT_STORE": sys.argv[1], UP: str(os.getpid())}
        stack.add_process("mlflow", "exec sh -c 'sleep 600 & kill -9 $$'", env=environment | {SERVICE: "mlflow"})
        stack.add_process("prefect", "exec sleep 600", env=environment | {SERVICE: "prefect"})
        stack.loop()
        """
    command = [COMMAND[0], "-c", code, str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=150)
    lines = [line for line in ended.stdout.splitlines() if line.startswith("uplift: ")]
    assert lines == [f"uplift: mlflow ended with exit code -9: no output; log: {tmp_path}/logs/mlflow.log"]
    assert not up._services(tmp_path)
