"""Settings of the stack and the commands made of them, without a start of any service."""

import os
import stat
import subprocess

import pytest

from data_contracts.errors import InputError
from flows.deployment.services import prepare, service_command
from flows.deployment.settings import PASSWORD_FILE, ROOT, StackSettings, exposes_password, read_settings
from flows.prefect_ui.deployment_parameters import nightly


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for name in [name for name in os.environ if name.startswith("UPLIFT_")]:
        monkeypatch.delenv(name)


def test_the_example_lists_every_variable_with_its_default():
    command = ["sh", "-c", "set -a; . ./.env.example; env"]  # a shell reads the file as compose and pydantic do
    lines = subprocess.run(command, cwd=ROOT, env={}, check=True, capture_output=True, text=True).stdout.splitlines()
    names = {line.split("=", 1)[0] for line in lines if line.startswith("UPLIFT_")}
    assert names == {f"UPLIFT_{field.upper()}" for field in StackSettings.model_fields}
    assert read_settings(ROOT / ".env.example") == StackSettings()


def test_the_shell_has_priority_and_an_empty_variable_means_the_default(tmp_path, monkeypatch):
    file = tmp_path / ".env"
    file.write_text('# comment\nUPLIFT_HOST=0.0.0.0\nUPLIFT_SCHEDULE_CRON="0 4 * * *"\nUPLIFT_NOTIFY=\nOTHER=1\n')
    monkeypatch.setenv("UPLIFT_HOST", "10.0.0.1")
    monkeypatch.setenv("UPLIFT_OF_ANOTHER_TOOL", "1")
    settings = read_settings(file)
    assert (settings.host, settings.schedule_cron, settings.notify) == ("10.0.0.1", "0 4 * * *", None)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("UPLIFT_HOTS=0.0.0.0", "UPLIFT_HOTS: Extra inputs are not permitted. .env.example describes all"),
        ("UPLIFT_SCHEDULE_TIMEZONE=Europe/Berln", "UPLIFT_SCHEDULE_TIMEZONE: invalid timezone: Europe/Berln"),
        ("UPLIFT_PREFECT_PORT=70000", "UPLIFT_PREFECT_PORT: .*65535"),
        ("UPLIFT_WORKERS='cpu gpu'", "UPLIFT_WORKERS: Input should be 'cpu cuda', 'cpu' or 'cuda'"),
        ("UPLIFT_DATABASE_URL=mysql://host/db", "UPLIFT_DATABASE_URL: "),
        ("UPLIFT_PROMOTE=always", "UPLIFT_PROMOTE: .*'gate'"),
    ],
)
def test_an_invalid_variable_is_refused_by_its_name(tmp_path, line, message):
    (tmp_path / ".env").write_text(line)
    with pytest.raises(InputError, match=message):
        read_settings(tmp_path / ".env")


@pytest.mark.parametrize("password", ["pässwörter-sind-gut", "short", "with a newline\nin it"])
def test_a_password_that_a_server_cannot_take_is_refused_and_not_printed(monkeypatch, tmp_path, password):
    monkeypatch.setenv("UPLIFT_API_PASSWORD", password)
    with pytest.raises(
        InputError, match="UPLIFT_API_PASSWORD: expected at least 12 printable ASCII characters"
    ) as refused:
        read_settings(tmp_path / ".env")
    assert password not in str(refused.value)


def test_a_generated_password_is_private_and_stays(tmp_path):
    settings = StackSettings(store=str(tmp_path / "store"))
    assert settings.password() is None
    password = settings.make_password()
    assert settings.make_password() == settings.password() == password
    assert stat.S_IMODE((settings.store / PASSWORD_FILE).stat().st_mode) == 0o600
    assert password not in repr(settings.model_copy(update={"host": "0.0.0.0"}))
    chosen = StackSettings(store=str(tmp_path / "store"), api_password="correct horse")
    assert chosen.password() == "correct horse"
    assert "correct horse" not in repr(chosen)


def test_both_servers_have_a_password_at_every_address(tmp_path):
    for host in ("127.0.0.1", "0.0.0.0"):
        settings = StackSettings(store=str(tmp_path), host=host)
        assert service_command("prefect", settings)[1]["PREFECT_SERVER_API_AUTH_STRING"] == (
            f"uplift:{settings.password()}"
        )
        command, variables = service_command("mlflow", settings)
        assert "basic-auth" in command
        assert variables["MLFLOW_AUTH_ADMIN_PASSWORD"] == settings.password()


def test_a_env_file_with_a_password_that_others_can_read_is_noticed(tmp_path):
    file = tmp_path / ".env"
    file.write_text("UPLIFT_API_PASSWORD=\n")
    file.chmod(0o644)
    assert not exposes_password(file)
    file.write_text("UPLIFT_API_PASSWORD='correct horse'\n")
    assert exposes_password(file)
    file.chmod(0o600)
    assert not exposes_password(file)


def test_a_schedule_that_cron_does_not_have_is_refused(monkeypatch):
    monkeypatch.setenv("UPLIFT_SCHEDULE_CRON", "at three")
    with pytest.raises(InputError, match="UPLIFT_SCHEDULE_CRON=at three"):
        nightly()


def test_one_database_of_postgresql_has_a_schema_for_each_server(tmp_path):
    url = "postgresql://me:secret@/motion?host=/run/pg"
    settings = StackSettings(store=str(tmp_path), database_url=url)
    (prefect_command, prefect), (mlflow_command, mlflow) = (service_command(s, settings) for s in ("prefect", "mlflow"))
    assert prefect["PREFECT_SERVER_DATABASE_CONNECTION_URL"] == url.replace("postgresql:", "postgresql+asyncpg:")
    assert prefect["PREFECT_SERVER_DATABASE_SQLALCHEMY_CONNECT_ARGS_SEARCH_PATH"].startswith("prefect")
    assert mlflow["MLFLOW_BACKEND_STORE_URI"] == f"{url}&options=-csearch_path%3Dmlflow"
    assert "secret" not in " ".join(prefect_command + mlflow_command)


def test_both_servers_listen_on_loopback_by_default_and_answer_to_configured_names(tmp_path):
    settings = StackSettings(store=str(tmp_path), allowed_hosts="gpu-box")
    for name in ("prefect", "mlflow"):
        command, _ = service_command(name, settings)
        assert command[command.index("--host") + 1] == "127.0.0.1"
    assert settings.host_names == ["127.0.0.1", "localhost", "gpu-box"]
    assert "gpu-box:*" in service_command("mlflow", settings)[1]["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")


@pytest.mark.parametrize("content", [b"no database" * 1000, None])
def test_a_damaged_database_is_refused_before_its_server_starts(tmp_path, empty_store, content):
    database = empty_store / "mlflow.db"
    database.write_bytes(content or database.read_bytes()[: database.stat().st_size // 2])
    with pytest.raises(InputError, match=r"mlflow\.db: the database is damaged \((file is not a|database disk image)"):
        prepare("mlflow", StackSettings(store=str(empty_store)))
