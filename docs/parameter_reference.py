"""Write docs/parameters.md, the reference of all parameters, from the parameter models.

.venv/bin/python -m docs.parameter_reference
"""

import inspect
import json
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, get_args

from pydantic.fields import FieldInfo

from data_contracts.parameters import Parameters, PipelineParameters, TrainingParameters

PAGE = Path(__file__).parent / "parameters.md"
MOST_VALUES = 4  # a longer default is counted, not listed
SIGNS = {"at least ": "≥ ", "at most ": "≤ ", "above ": "> ", "below ": "< "}
INTRODUCTION = """# Parameters

Parameters of presets, `--set path.to.parameter=value` and `overrides`, with their defaults and, in brackets, their
values. A preset replaces some defaults. `python -m docs.parameter_reference` generates this page from the models in
[data_contracts/parameters](../data_contracts/parameters/__init__.py).
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(reference(), encoding="utf-8")


def reference() -> str:
    """Return the page as Markdown, with one table per parameter model."""
    paths: dict[type[Parameters], list[str]] = {}
    for path, model in _models(PipelineParameters, ""):
        if issubclass(model, TrainingParameters):
            paths.setdefault(TrainingParameters, []).append(path)
        paths.setdefault(model, []).append(path)
    return "\n".join((INTRODUCTION, *filter(None, (_section(model, where) for model, where in paths.items()))))


def _models(model: type[Parameters], path: str) -> Iterator[tuple[str, type[Parameters]]]:
    """Yield the parameter models inside a model, with their paths."""
    for name, field in model.model_fields.items():
        for inner in _types(field, Parameters):
            yield f"{path}{name}", inner
            yield from _models(inner, f"{path}{name}.")


def _types(field: FieldInfo, base: type) -> list[Any]:
    """Return the subclasses of `base` in the annotation of a field."""
    kinds = (field.annotation, *get_args(field.annotation))
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, base)]


def _section(model: type[Parameters], paths: list[str]) -> str:
    """Return the heading, changed defaults of the base model, and the table of new fields; empty without new fields."""
    properties, of_base = model.model_json_schema()["properties"], getattr(model.__base__, "model_fields", {})
    own = [
        (name, field)
        for name, field in model.model_fields.items()
        if name in inspect.get_annotations(model) and not _types(field, Parameters)
    ]
    rows = [_row(name, field, properties[name]) for name, field in own if name not in of_base]
    if not rows:
        return ""
    summary = (inspect.getdoc(model) or "").partition("\n\n")[0].replace("\n", " ")
    if changed := [f"`{name}` {_default(field)}" for name, field in own if name in of_base]:
        summary += f"\n\nDefaults that differ from those above: {', '.join(changed)}."
    heading = f"## {', '.join(f'`{path}`' for path in paths)}"
    return "\n".join((heading, "", summary, "", "| parameter | default | description |", "|---|---|---|", *rows, ""))


def _row(name: str, field: FieldInfo, schema: dict[str, Any]) -> str:
    enums = _types(field, Enum)
    description = field.description or (inspect.getdoc(enums[0]) or "").partition("\n")[0]
    bounds = schema.get("description", "").removeprefix(description.removesuffix(".")).strip(" ().")
    for words, sign in SIGNS.items():
        bounds = bounds.replace(words, sign)
    values = ", ".join(dict.fromkeys(str(value) for value in _values(field.annotation)))
    allowed = f" ({values or bounds})" if values or bounds else ""
    return f"| `{name}` | {_default(field)}{allowed} | {description} |"


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    if isinstance(default, tuple) and len(default) > MOST_VALUES:
        return f"{len(default)} values"
    return "null" if default is None else json.dumps(default, default=str).strip('"')


def _values(annotation: Any) -> Iterator[object]:
    """Yield the values of the enums and literals of an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        yield from (member.value for member in annotation)
    for argument in get_args(annotation):
        if isinstance(argument, str | int):
            yield argument
        else:
            yield from _values(argument)


if __name__ == "__main__":
    main()
