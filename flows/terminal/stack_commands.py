"""The subcommands that run the stack: everything in one terminal, and who is told of what."""

from pathlib import Path
from typing import Annotated

import typer

from data_contracts.errors import InputError
from flows.stack.settings import read_settings

stack = typer.Typer()
automations = typer.Typer(no_args_is_help=True, help="Who is told of what happens at night, on a Prefect server.")
stack.add_typer(automations, name="automations")


@stack.command()
def up(
    store: Annotated[
        Path | None, typer.Option("--store", help="Root of the store; default UPLIFT_STORE, or ./store.")
    ] = None,
) -> None:
    """Start both servers and the workers of this machine, as UPLIFT_ variables and .env say; Ctrl-C ends them."""
    try:
        from flows.stack.up import up as start
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is not installed: pip install 'pose-uplift[stack]'") from error
    settings = read_settings()
    raise typer.Exit(start(settings.model_copy(update={"store": str(store)}) if store else settings))


@stack.command()
def register() -> None:
    """Pools, limits, deployments and automations, on the server of PREFECT_API_URL; `uplift up` does so by itself."""
    from flows.stack.registering import register as bring_up_to_date

    bring_up_to_date(read_settings(), typer.echo)


@automations.command("install")
def install_automations(
    notify: Annotated[
        str | None,
        typer.Option("--notify", help="Notification block (slack-webhook/NAME) or URL. Default: UPLIFT_NOTIFY."),
    ] = None,
) -> None:
    """Install them on the server of PREFECT_API_URL; those of before are brought up to date."""
    from flows.stack.automations import install

    settings = read_settings()
    for name in install(settings.model_copy(update={"notify": notify}) if notify else settings):
        typer.echo(name)


@automations.command("remove")
def remove_automations() -> None:
    """Remove them from the server of PREFECT_API_URL."""
    from flows.stack.automations import remove

    for name in remove():
        typer.echo(name)
