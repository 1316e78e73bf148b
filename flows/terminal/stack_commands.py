"""Subcommands of the stack: start it, register on its Prefect server, and use it from another terminal."""

import shlex
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from data_contracts.errors import InputError
from data_contracts.text import printable
from flows.deployment.settings import ENV_FILE, StackSettings, exposes_password, read_settings, use_servers
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
        raise InputError(f"{settings.root}: no stack was started on this store; start `make up`, or pass --store")
    for name, value in settings.client_environment().items():
        typer.echo(f"export {name}={shlex.quote(value)}")


@stack.command()
def register(
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until both servers and the workers of this machine are ready.")
    ] = False,
) -> None:
    """Create or update pools, deployments and automations on a Prefect server; `uplift up` does so at each start."""
    use_servers(settings := _settings())
    from flows.deployment import registration

    (registration.register_when_ready if wait else registration.register)(settings)


@stack.command()
def watch(
    run: Annotated[UUID | None, typer.Argument(help="Id of a flow run. Default: the newest pipeline run.")] = None,
) -> None:
    """Show the states of a pipeline run until it ends, and its outcome; the exit code is 1 if it did not complete."""
    use_servers(_settings())
    from flows.deployment.registration import prefect_client
    from flows.deployment.watching import follow, newest_pipeline_run

    with prefect_client() as client:
        state = follow(client, run or newest_pipeline_run(client), typer.echo)
    typer.echo(printable(state.message or "no outcome was recorded"))
    raise typer.Exit(0 if state.is_completed() else 1)


def _settings(store: Path | None = None) -> StackSettings:
    """Return the settings of the stack; a store from the command line replaces that of the settings."""
    if exposes_password():
        typer.echo(f"uplift: other users can read the password in {ENV_FILE}: chmod 600 {ENV_FILE}", err=True)
    return read_settings(store=str(store)) if store else read_settings()
