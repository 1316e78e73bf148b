"""What the stack is told: `UPLIFT_...` variables, of the shell or of `.env` in the project's folder.

Notable decisions:
- one model with bounds: a misspelt variable of `.env` or a bad value is refused in one line before anything is started;
- the shell wins over `.env`; `.env.example` has every variable with its default, which a test holds it to;
- an empty value is the default's: a line of `.env` may be left as it is in the example.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from data_contracts.errors import InputError
from data_contracts.presets import parse
from data_contracts.store.folders import default_store

ROOT = Path(__file__).parent.parent.parent
PREFIX = "UPLIFT_"
USER = "uplift"  # who knows the password; both servers ask for a name beside it
POOLS = ("cpu", "cuda")
EVERYWHERE = ("0.0.0.0", "::")


class StackSettings(BaseModel):
    """Each field is the variable `UPLIFT_<FIELD>`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    store: str = Field("store", description="Root of the store; workers on other machines reach it by the same path.")
    preset: str = Field("demo", description="Parameters of the deployments: a name of presets/, or a YAML file.")

    source: str = Field("synthetic", description="Motion of the night: a path as the workers see it, or synthetic.")
    clip_list: str | None = Field(None, description="Its clip_list.csv; empty: that beside the source.")
    promote: Literal["gate", "approve", "never"] = Field("gate", description="gate, approve or never: how it ends.")
    night_cron: str = Field("0 3 * * *", description="When a night starts.")
    night_timezone: str = Field("UTC", description="Of that, such as Europe/Berlin.")
    second_night: Literal["ENQUEUE", "CANCEL_NEW"] = Field(
        "ENQUEUE", description="A night that is due while another runs: ENQUEUE waits for it, CANCEL_NEW is cancelled."
    )

    host: str = Field("127.0.0.1", description="Address that both servers listen on; 0.0.0.0: all of this machine.")
    prefect_port: int = Field(4200, ge=1, le=65535, description="Of the Prefect server.")
    mlflow_port: int = Field(5000, ge=1, le=65535, description="Of the MLflow server.")
    workers: str = Field("cpu cuda", description="Pools that have a worker on this machine.")
    database_url: str | None = Field(
        None, pattern="^postgresql://", description="postgresql://USER@HOST/DATABASE; empty: SQLite files in the store."
    )
    artifacts: str | None = Field(
        None, description="Where MLflow keeps artifacts, such as s3://BUCKET/PATH; empty: mlartifacts in the store."
    )
    api_password: str | None = Field(None, description="Both servers ask for it (user uplift); empty: for none.")

    notify: str | None = Field(
        None, description="Who is told: a notification block (slack-webhook/NAME), or a webhook's URL; empty: nobody."
    )
    night_hours: float = Field(25, ge=0, description="Told when no night began for so many hours; 0: never.")
    late_minutes: float = Field(15, ge=1, description="Told when a night that is due has not begun for so long.")
    silent_minutes: float = Field(
        10, ge=3, description="A run whose process gave no sign of life for so long is marked crashed."
    )
    restart_seconds: float = Field(
        5,
        ge=0,
        le=300,
        description="A server or worker of make up that was killed or failed is started again after so long.",
    )

    @field_validator("night_timezone")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError("no such time zone") from error
        return name

    @field_validator("workers")
    @classmethod
    def _pools(cls, names: str) -> str:
        if unknown := set(names.split()) - {*POOLS}:
            raise ValueError(f"pools are {' and '.join(POOLS)}, not {', '.join(sorted(unknown))}")
        return names

    @model_validator(mode="after")
    def _artifacts_have_a_server(self) -> "StackSettings":
        if self.artifacts and not self.database_url:
            raise ValueError("UPLIFT_ARTIFACTS goes with UPLIFT_DATABASE_URL: with SQLite artifacts lie in the store")
        return self

    @property
    def root(self) -> Path:
        """Of the store, absolute."""
        return default_store(self.store)

    @property
    def logs(self) -> Path:
        """Folder with a log of each part."""
        return self.root / "logs"

    @property
    def prefect_url(self) -> str:
        """Of the Prefect server, as this machine reaches it."""
        return f"http://{self._reached}:{self.prefect_port}"

    @property
    def mlflow_url(self) -> str:
        """Of the MLflow server, as this machine reaches it."""
        return f"http://{self._reached}:{self.mlflow_port}"

    @property
    def prefect_password(self) -> str | None:
        """As Prefect takes it: `user:password`."""
        return f"{USER}:{self.api_password}" if self.api_password else None

    @property
    def _reached(self) -> str:
        return "127.0.0.1" if self.host in EVERYWHERE else self.host

    def client_environment(self) -> dict[str, str]:
        """What a process needs to reach both servers."""
        variables = {
            "PREFECT_API_URL": f"{self.prefect_url}/api",
            "MLFLOW_TRACKING_URI": self.mlflow_url,
            "UPLIFT_STORE": str(self.root),
        }
        if self.api_password:
            variables |= {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": self.api_password}
            variables["PREFECT_API_AUTH_STRING"] = str(self.prefect_password)
        return variables

    def prefect_database(self) -> dict[str, str]:
        """Where the Prefect server keeps what it knows; in PostgreSQL, in a schema of its own."""
        if self.database_url is None:
            return {"PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{self.root / 'prefect.db'}"}
        return {
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": self.database_url.replace(
                "postgresql:", "postgresql+asyncpg:", 1
            ),
            "PREFECT_SERVER_DATABASE_SQLALCHEMY_CONNECT_ARGS_SEARCH_PATH": "prefect, public",
        }

    def mlflow_database(self) -> str:
        """Where the MLflow server does; a writer waits a minute for another one."""
        if self.database_url is None:
            return f"sqlite:///{self.root / 'mlflow.db'}?timeout=60"
        joint = "&" if "?" in self.database_url else "?"
        return f"{self.database_url}{joint}options={quote('-csearch_path=mlflow')}"


def read_settings(environment: Mapping[str, str] | None = None, file: Path = ROOT / ".env") -> StackSettings:
    """Settings of the shell's variables, and of `.env` where the shell does not say.

    Raises
    ------
    InputError
        A variable of the file is unknown, or a value is not allowed.
    """
    fields = StackSettings.model_fields
    of_file = {name: value for name, value in _read_file(file).items() if name.startswith(PREFIX)}
    of_shell = os.environ if environment is None else environment
    if unknown := sorted(name for name in of_file if name.removeprefix(PREFIX).lower() not in fields):
        raise InputError(f"{file}: {unknown[0]} is no variable of the stack; .env.example has all of them")
    named = {f"{PREFIX}{field.upper()}": field for field in fields}
    told: dict[str, Any] = {named[name]: value for name, value in of_file.items() if value}
    told |= {named[name]: value for name, value in of_shell.items() if name in named and value}
    return parse(StackSettings, told, where="UPLIFT_ variables")


def variables(settings: StackSettings) -> dict[str, str]:
    """Settings as variables, for the parts of the stack."""
    return {f"{PREFIX}{field.upper()}": "" if value is None else str(value) for field, value in settings}


def _read_file(file: Path) -> dict[str, str]:
    """Variables of a `.env` file: NAME=value a line, the value as it is or in quotes."""
    if not file.is_file():
        return {}
    found = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            found[name.strip()] = value.strip().strip("'\"")
    return found
