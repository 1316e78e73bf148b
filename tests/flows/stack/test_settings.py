"""What the stack is told, and what it makes of it, without starting anything."""

import os
import subprocess
import sys

import psutil
import pytest

from data_contracts.errors import InputError
from flows.prefect_ui.deployment_parameters import night
from flows.stack import up
from flows.stack.parts import part_command
from flows.stack.settings import ROOT, StackSettings, read_settings, variables


def test_the_example_has_every_variable_with_its_default(tmp_path):
    command = ["sh", "-c", "set -a; . ./.env.example; env"]  # what a shell reads of it, too
    lines = subprocess.run(command, cwd=ROOT, env={}, check=True, capture_output=True, text=True).stdout.splitlines()
    shown = dict(line.split("=", 1) for line in lines if line.startswith("UPLIFT_"))
    assert shown == variables(StackSettings())
    assert read_settings({}, ROOT / ".env.example") == StackSettings()


def test_the_shell_wins_over_the_file_and_what_is_empty_is_the_default(tmp_path):
    file = tmp_path / ".env"
    file.write_text('# a comment\nUPLIFT_HOST=0.0.0.0\nUPLIFT_NIGHT_CRON="0 4 * * *"\nUPLIFT_NOTIFY=\nOTHER=1\n')
    settings = read_settings({"UPLIFT_HOST": "10.0.0.1", "UPLIFT_ELSE": "of another tool"}, file)
    assert (settings.host, settings.night_cron, settings.notify) == ("10.0.0.1", "0 4 * * *", None)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("UPLIFT_HOTS=0.0.0.0", "UPLIFT_HOTS is no variable"),
        ("UPLIFT_NIGHT_TIMEZONE=Europe/Berln", "night_timezone: .*no such time zone"),
        ("UPLIFT_PREFECT_PORT=70000", "prefect_port: .*65535"),
        ("UPLIFT_WORKERS=cpu gpu", "pools are cpu and cuda, not gpu"),
        ("UPLIFT_DATABASE_URL=mysql://host/db", "database_url"),
        ("UPLIFT_ARTIFACTS=s3://bucket", "UPLIFT_ARTIFACTS goes with UPLIFT_DATABASE_URL"),
        ("UPLIFT_SECOND_NIGHT=wait", "second_night: .*ENQUEUE"),
    ],
)
def test_a_bad_variable_is_refused_by_its_name(tmp_path, line, said):
    (tmp_path / ".env").write_text(line)
    with pytest.raises(InputError, match=said):
        read_settings({}, tmp_path / ".env")


def test_a_time_that_cron_does_not_know_is_refused(monkeypatch):
    monkeypatch.setenv("UPLIFT_NIGHT_CRON", "at three")
    with pytest.raises(InputError, match="UPLIFT_NIGHT_CRON=at three"):
        night()


def test_one_database_of_postgresql_has_a_schema_for_each_server():
    settings = StackSettings(database_url="postgresql://me@/motion?host=/run/pg")
    (_, prefect), (mlflow, _) = part_command("prefect", settings), part_command("mlflow", settings)
    assert prefect["PREFECT_SERVER_DATABASE_CONNECTION_URL"] == "postgresql+asyncpg://me@/motion?host=/run/pg"
    assert prefect["PREFECT_SERVER_DATABASE_SQLALCHEMY_CONNECT_ARGS_SEARCH_PATH"].startswith("prefect")
    assert "postgresql://me@/motion?host=/run/pg&options=-csearch_path%3Dmlflow" in mlflow


def test_without_being_told_otherwise_both_servers_listen_on_loopback():
    for name in ("prefect", "mlflow"):
        command, _ = part_command(name, StackSettings())
        assert command[command.index("--host") + 1] == "127.0.0.1"


def test_a_process_that_left_its_group_and_does_not_want_to_end_is_ended():
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    )
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {deaf!r}], start_new_session=True)"
    started = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, up.MARK: "test"}, stdout=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "deaf\n"
    ours = up._processes("test")
    assert len(ours) == 2
    up._end(ours, 1.0)
    started.wait(10)
    _, left = psutil.wait_procs(ours, timeout=10)
    assert left == []
