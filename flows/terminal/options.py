"""The options that every command has, written once, and what they say.

    @command(app)
    def convert(call: Call, clips: Annotated[str, typer.Argument()]) -> None:
        ...

makes `uplift convert CLIPS` with `--store`, `--preset`, `--set` and `--json`; `call` is what these four say.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from data_contracts.errors import InputError
from data_contracts.parameters import ExportFormat, Parameters, PipelineParameters
from data_contracts.presets import load_preset, parse, preset_names
from data_contracts.report import StageResult
from data_contracts.store.folders import default_store
from flows.stages import Context

MODEL_HELP = "Run folder or digest, checkpoint (.safetensors, MotionBERT's .bin), or model URI."
_PANEL = "Options of every command"


@dataclass(frozen=True)
class Call:
    """What the options of every command say."""

    store: Path
    parameters: PipelineParameters
    as_json: bool

    @property
    def context(self) -> Context:
        """Store and parameters, as the table of stages takes them."""
        return Context(self.store, self.parameters)

    @property
    def is_default_store(self) -> bool:
        """The next command finds this store without being told."""
        return self.store == default_store()

    def reference(self, result: StageResult) -> str:
        """How to name a stage folder in the next command: its digest, where the default store will find it."""
        return result.digest if self.is_default_store else result.folder


def _shared(
    store: Annotated[
        Path | None,
        typer.Option("--store", rich_help_panel=_PANEL, help="Root of the store; default UPLIFT_STORE, or ./store."),
    ] = None,
    preset: Annotated[
        str, typer.Option("--preset", rich_help_panel=_PANEL, help=f"{', '.join(preset_names())}, or a YAML file.")
    ] = "demo",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", rich_help_panel=_PANEL, help="path.to.parameter=value; may be repeated."),
    ] = None,
    json_: Annotated[
        bool, typer.Option("--json", rich_help_panel=_PANEL, help="Last line on stdout: one JSON object.")
    ] = False,
) -> Call:
    return Call(default_store(store), load_preset(preset, set_), json_)


SomeParameters = TypeVar("SomeParameters", bound=Parameters)


def changed(parameters: SomeParameters, name: str, options: Mapping[str, Any]) -> SomeParameters:
    """Parameters with what options of their own say; none: not said.

    Raises
    ------
    InputError
        A value is out of bounds.
    """
    given = {field: value for field, value in options.items() if value is not None}
    return parse(type(parameters), parameters.model_dump() | given, where=name)


def export_formats(text: str) -> list[ExportFormat]:
    """Formats by their names, between commas.

    Raises
    ------
    InputError
        One is not known.
    """
    names = [name for part in text.split(",") if (name := part.strip().lower())]
    if unknown := sorted(set(names) - {*ExportFormat}):
        raise InputError(f"--export {unknown[0]}: these are known: {', '.join(ExportFormat)}")
    return [ExportFormat(name) for name in dict.fromkeys(names)]


def command(app: typer.Typer, name: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function a command of `app`, named as it is: what it takes beside `call`, and the options of all."""

    def register(work: Callable[..., None]) -> Callable[..., None]:
        of_all, own = (inspect.signature(function, eval_str=True).parameters for function in (_shared, work))

        @wraps(work)
        def run(**given: Any) -> None:
            call = _shared(**{name: given.pop(name) for name in of_all})
            work(call, **given)

        taken = [parameter for name, parameter in own.items() if name != "call"] + list(of_all.values())
        signature = inspect.Signature([p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in taken])
        run.__signature__ = signature  # type: ignore[attr-defined]  # what typer reads
        app.command(name)(run)
        return work

    return register
