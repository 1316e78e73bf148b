"""Subcommands of the stack: start it, register on its Prefect server, and use it from another terminal."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from data_contracts.errors import InputError
from data_contracts.text import printable
from flows.deployment.settings import (
    ENV_FILE,
    ENV_VARIABLE,
    StackSettings,
    exposes_password,
    read_settings,
    use_servers,
)
from flows.terminal.options import Store

stack = typer.Typer()


@stack.command()
def up(store: Store = None) -> None:
    """Start both servers and the workers of this machine, with the settings of UPLIFT_ variables and .env."""
    from flows.deployment.up import up as start

    raise typer.Exit(start(_settings(store=store)))


@stack.command()
def env(store: Store = None) -> None:
    """Print the variables, password included, that clients of a running stack need: eval "$(uplift env)"."""
    settings = _settings(store=store)
    if settings.password() is None:
        raise InputError(f"{settings.store}: no stack was started on this store; start `make up`, or pass --store")
    for name, value in settings.client_environment().items():
        typer.echo(f"export {name}={shlex.quote(value)}")


@stack.command()
def register() -> None:
    """Create or update pools, deployments and automations on a Prefect server; `uplift up` does so at each start."""
    use_servers(settings := _settings())
    from flows.deployment.registration import register as create_or_update

    create_or_update(settings)


@stack.command()
def watch(
    run: Annotated[UUID | None, typer.Argument(help="Id of a flow run. Default: the newest pipeline run.")] = None,
) -> None:
    """Show the events and logs of a pipeline run until it ends, and its outcome; the exit code is 1 if it failed."""
    use_servers(_settings())
    from flows.deployment.registration import newest_pipeline_run, prefect_client

    with prefect_client() as client:
        run_id = run or newest_pipeline_run(client)
        subprocess.run([sys.executable, "-m", "prefect", "flow-run", "watch", str(run_id)])
        state = client.read_flow_run(run_id).state
    typer.echo(printable((state and state.message) or "no outcome was recorded"))
    raise typer.Exit(0 if state and state.is_completed() else 1)


def _settings(store: Path | None = None) -> StackSettings:
    """Return the settings of the stack; `store`, if passed on the command line, replaces the store of the settings."""
    if ENV_VARIABLE not in os.environ and exposes_password():  # `uplift up` has said it before it started this command
        typer.echo(f"uplift: other users can read the password in {ENV_FILE}: chmod 600 {ENV_FILE}", err=True)
    return read_settings(store=store) if store else read_settings()
