"""Options that all commands share.

    @command(app)
    def convert(call: Call, clips: Annotated[str, typer.Argument()]) -> None:
        ...

makes `uplift convert CLIPS` with `--store`, `--preset`, `--set` and `--json`; `call` contains the values of these four.
"""

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from data_contracts.parameters.presets import DEFAULT, load_preset, parse, preset_names
from data_contracts.store.folders import StageResult, default_store
from flows.terminal.running import computing
from tasks.stage import Context

_option = partial(typer.Option, rich_help_panel="Options of all commands")
_STORE_HELP = "Root of the store. Default: UPLIFT_STORE, or ./store."
Store = Annotated[Path | None, typer.Option("--store", help=_STORE_HELP)]  # of commands without the other options


@dataclass(frozen=True)
class Call:
    """Values of the options that all commands share."""

    context: Context
    as_json: bool

    @property
    def store(self) -> Path:
        """Root of the store."""
        return self.context.store

    @property
    def is_default_store(self) -> bool:
        """Whether the next command uses this store without `--store`."""
        return self.store == default_store()

    def reference(self, result: StageResult) -> str:
        """Return the digest of a stage for the next command, or its path if the store is not the default store."""
        return result.digest if self.is_default_store else result.folder


def _shared(
    store: Annotated[Path | None, _option(help=_STORE_HELP)] = None,
    preset: Annotated[
        str, _option(help=f"Preset of all parameters: {', '.join(preset_names())}, or a YAML file.")
    ] = DEFAULT,
    set_: Annotated[
        list[str] | None, _option("--set", help="Parameter to change, as path.to.parameter=value; repeatable.")
    ] = None,
    json_: Annotated[
        bool, _option("--json", help="Print the result as one JSON object, in the last line on stdout.")
    ] = False,
) -> Call:
    return Call(Context(default_store(store), load_preset(preset, set_)), json_)


def changed(context: Context, stage: str, **options: Any) -> Context:
    """Return `context` with parameters of a stage replaced by options; an option that is None has no effect.

    Raises
    ------
    InputError
        The value of an option is out of bounds.
    """
    parameters = getattr(context.parameters, stage)
    values = {name: value for name, value in options.items() if value is not None}
    update = {stage: parse(type(parameters), parameters.model_dump() | values, where=stage)}
    return replace(context, parameters=context.parameters.model_copy(update=update))


def command(
    app: typer.Typer, name: str | None = None, is_flow: bool = False
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that adds a function to `app` as a command with the shared options; `name` replaces its name.

    With `is_flow`, Prefect handles logs and signals of the command.
    """

    def register(work: Callable[..., None]) -> Callable[..., None]:
        shared, own = (inspect.signature(function, eval_str=True).parameters for function in (_shared, work))

        @wraps(work)
        def run(**values: Any) -> None:
            call = _shared(**{name: values.pop(name) for name in shared})
            with nullcontext() if is_flow else computing():
                work(call, **values)

        options = [parameter for name, parameter in own.items() if name != "call"] + list(shared.values())
        signature = inspect.Signature([p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in options])
        run.__signature__ = signature  # type: ignore[attr-defined]  # typer reads it
        app.command(name)(run)
        return work

    return register
