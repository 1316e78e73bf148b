"""Settings of the stack: `UPLIFT_...` variables of the shell or of `.env`; the shell has priority over the file."""

import os
import secrets
import socket
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from dotenv import dotenv_values
from pydantic import AfterValidator, Field, Secret, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from data_contracts.errors import InputError
from data_contracts.store.folders import default_store

ROOT = Path(__file__).parent.parent.parent  # of the code: the clone, or the folder into which pip installed it
ENV_VARIABLE = "UPLIFT_ENV_FILE"  # for services, which have another working directory
ENV_FILE = Path(os.environ.get(ENV_VARIABLE, ".env")).absolute()
USER = "uplift"  # both servers ask for this user name next to the password
PASSWORD_FILE = "api_password"


def _fits_both_servers(password: str) -> str:
    if len(password) >= 12 and password.isascii() and password.isprintable():  # MLflow requires 12 characters
        return password
    raise ValueError("expected at least 12 printable ASCII characters")


class StackSettings(BaseSettings):
    """Settings of the stack; each field is the variable `UPLIFT_<FIELD>`, and an empty variable means the default."""

    model_config = SettingsConfigDict(
        env_prefix="UPLIFT_", env_ignore_empty=True, dotenv_filtering="match_prefix", extra="forbid", frozen=True
    )

    store: Annotated[Path, AfterValidator(default_store)] = Field(
        Path("store"), validate_default=True, description="Root of the store. Workers elsewhere need the same path."
    )
    preset: str = Field("demo", description="Preset of the deployments: a name in presets/ or a YAML file.")

    source: str = Field("synthetic", description="Motion of the nightly pipeline run: a path or `synthetic`.")
    clip_list: str | None = Field(None, description="Clip list (CSV). Default: the one next to the source.")
    promote: Literal["gate", "approve", "never"] = Field(
        "gate", description="Promotion after a nightly run: gate (automatic), approve (by a person) or never."
    )
    schedule_cron: str = Field("0 3 * * *", description="Start of the nightly run, in cron's five fields.")
    schedule_timezone: ZoneInfo = Field(ZoneInfo("UTC"), description="Time zone of the schedule, e.g. Europe/Berlin.")

    host: str = Field("127.0.0.1", description="Address that both servers listen on. 0.0.0.0: all addresses.")
    prefect_port: int = Field(4200, ge=1, le=65535, description="Port of the Prefect server.")
    mlflow_port: int = Field(5000, ge=1, le=65535, description="Port of the MLflow server.")
    allowed_hosts: str = Field("", description="More host names, without port, that clients use for the servers.")
    workers: Literal["cpu cuda", "cpu", "cuda"] = Field(
        "cpu cuda", description="Work pools for which `uplift up` starts a worker."
    )
    database_url: str | None = Field(
        None, pattern="^postgresql://", description="postgresql://USER@HOST/DATABASE. Default: SQLite in the store."
    )
    api_password: Secret[Annotated[str, AfterValidator(_fits_both_servers)]] | None = Field(
        None, description="Password of both servers. Default: generated, in the file api_password of the store."
    )

    notify: str | None = Field(
        None, description="Receiver of notifications: a Prefect block (slack-webhook/NAME) or a webhook's URL."
    )
    missing_hours: float = Field(25, ge=0, description="Notify if no nightly run began for so many hours. 0: never.")
    late_minutes: float = Field(15, ge=1, description="Notify if a nightly run is late by so many minutes.")
    silent_minutes: float = Field(10, ge=3, description="Minutes without a heartbeat until a run is marked as crashed.")

    @property
    def prefect_url(self) -> str:
        """URL of the Prefect server on this machine."""
        return self._url(self.prefect_port)

    @property
    def mlflow_url(self) -> str:
        """URL of the MLflow server on this machine."""
        return self._url(self.mlflow_port)

    def _url(self, port: int) -> str:
        return f"http://{'127.0.0.1' if self.host == '0.0.0.0' else self.host}:{port}"

    @property
    def host_names(self) -> list[str]:
        """Host names, without port, that both servers answer to."""
        own = socket.gethostname() if self.host == "0.0.0.0" else self.host
        return list(dict.fromkeys(["127.0.0.1", "localhost", own, *self.allowed_hosts.split()]))

    def password(self) -> str | None:
        """Return UPLIFT_API_PASSWORD, else the content of the store's password file, else None."""
        file = self.store / PASSWORD_FILE
        if self.api_password:
            return self.api_password.get_secret_value()
        return (file.read_text(encoding="ascii").strip() or None) if file.is_file() else None

    def make_password(self) -> str:
        """Return the password; if there is none, write a new one to the store's password file with mode 0600."""
        self.store.mkdir(parents=True, exist_ok=True)
        if (password := self.password()) is None:
            (self.store / PASSWORD_FILE).touch(mode=0o600)
            (self.store / PASSWORD_FILE).write_text(password := secrets.token_urlsafe(24))
        return password

    def client_environment(self) -> dict[str, str]:
        """Return the environment variables that a client of both servers needs, with the password if there is one."""
        variables = {"PREFECT_API_URL": f"{self.prefect_url}/api", "MLFLOW_TRACKING_URI": self.mlflow_url}
        if password := self.password():
            variables |= {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": password}
            variables["PREFECT_API_AUTH_STRING"] = f"{USER}:{password}"
        return variables | {"UPLIFT_STORE": str(self.store)}


def read_settings(file: Path = ENV_FILE, **values: Any) -> StackSettings:
    """Return the settings of the shell and of the file; `values` have priority over both.

    Raises
    ------
    InputError
        The file has an unknown variable, or a value is not allowed. The message never contains a password.
    """
    try:
        return StackSettings(_env_file=file, **values)
    except ValidationError as error:
        faults = [
            f"UPLIFT_{'_'.join(map(str, fault['loc'])).upper()}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors()
        ]
        raise InputError(f"{'; '.join(faults)}. .env.example describes all variables") from None


def use_servers(settings: StackSettings) -> None:
    """Make this process a client of the stack's servers; variables that the shell sets keep their values."""
    os.environ |= {name: os.environ.get(name) or text for name, text in settings.client_environment().items()}


def exposes_password(file: Path = ENV_FILE) -> bool:
    """Return whether the file contains a password and can be read by other users."""
    is_open = file.is_file() and file.stat().st_mode & 0o077
    return bool(is_open and dotenv_values(file).get("UPLIFT_API_PASSWORD"))
