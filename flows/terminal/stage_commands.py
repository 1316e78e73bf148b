"""Commands of the stages, made from the table in `flows.stages`: `uplift pretrain WINDOWS --windows-2d OTHER`.

The first input is an argument; the other inputs are options. The docstring of the stage describes them.
"""

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.prefect_ui.forms import parameter_texts
from flows.stages import STAGES, TableRow, run_stage
from flows.terminal.options import Call, command
from flows.terminal.printing import print_stage

OWN_COMMAND = ("keypoints",)  # in flows.terminal.lifting_commands, with an option of its own


def add_stage_commands(app: typer.Typer) -> None:
    """Add a command to `app` for every stage of the table."""
    for stage in STAGES.values():
        if stage.name not in OWN_COMMAND:
            _add(app, stage)


def texts(paths: list[Path] | None) -> str | list[str] | None:
    """Return paths as the stages take them: one path as a string, several as a list."""
    strings = [str(path) for path in paths or []]
    return strings[0] if len(strings) == 1 else strings or None


def _add(app: typer.Typer, stage: TableRow) -> None:
    helps = parameter_texts(stage.resolve)

    def work(call: Call, **values: Any) -> None:
        values |= {name: texts(value) for name, value in values.items() if isinstance(value, list)}
        result = run_stage(stage.name, call.context, **values)
        print_stage(result, call.as_json, stage.next_command.format(result=call.reference(result), **values))

    _, first, *others = inspect.signature(stage.resolve).parameters.values()
    parameters = [_typed(first, typer.Argument(help=helps[first.name]))]
    for other in others:
        parameters.append(_typed(other, typer.Option(f"--{other.name.replace('_', '-')}", help=helps[other.name])))
    call_parameter = inspect.Parameter("call", inspect.Parameter.KEYWORD_ONLY, annotation=Call)
    work.__name__, work.__doc__ = stage.name, (inspect.getdoc(stage.resolve) or "").partition("\n\n")[0]
    work.__signature__ = inspect.Signature([call_parameter, *parameters])  # type: ignore[attr-defined]  # typer reads it
    command(app)(work)


def _typed(parameter: inspect.Parameter, metadata: Any) -> inspect.Parameter:
    """Return an input as typer takes it; an input of one or several paths becomes a list."""
    kind: Any = list[Path] if parameter.annotation == str | list[str] else parameter.annotation
    if parameter.annotation == str | list[str] | None:
        kind = list[Path] | None
    return parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[kind, metadata])
