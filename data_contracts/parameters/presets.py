"""Load presets (YAML files of `PipelineParameters`) and apply `--set path.to.parameter=value` overrides to them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from data_contracts.errors import InputError
from data_contracts.parameters import PipelineParameters

DEFAULT = "demo"
_ABSENT = object()
_MAX_FAULTS = 20  # faults of a preset in one error message
MAX_CHARACTERS = 2**18
MAX_VALUES = 20_000  # a preset has about 200
MAX_DEPTH = 20
PRESETS = Path(__file__).parents[2] / "presets"


def preset_names() -> list[str]:
    """Return the names of the presets in `presets/`, sorted."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load_preset(preset: str, overrides: Sequence[str] | None = None) -> PipelineParameters:
    """Return the parameters of a preset with the overrides applied.

    Parameters
    ----------
    preset
        Name of a file in `presets/`, or a path to a YAML file.
    overrides
        Texts `path.to.parameter=value`; each value is read as YAML.

    Raises
    ------
    InputError
        The preset or a parameter is unknown, the YAML is not readable or too large, or a value is outside its bounds.
    """
    path = Path(preset) if preset.endswith((".yaml", ".yml")) else PRESETS / f"{preset}.yaml"
    if not path.is_file():
        raise InputError(f"unknown preset {preset!r}: pass one of {', '.join(preset_names())}, or a YAML file")
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_CHARACTERS + 1)  # `_read_yaml` refuses the character that is too much
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the preset cannot be read as UTF-8 text ({error})") from error
    tree = _read_yaml(text, where=str(path)) or {}
    if not isinstance(tree, dict):
        raise InputError(f"{path}: expected a mapping of stages, got {type(tree).__name__}")
    for override in overrides or []:
        _apply_override(tree, override)
    return parse(PipelineParameters, tree, where=preset)


def preset_and_overrides(parameters: PipelineParameters) -> dict[str, Any]:
    """Return `preset` and `overrides` from which `load_preset` makes `parameters`, with as few overrides as possible.

    The preset is one of this project, so another machine does not need the user's preset file.
    """
    values = parameters.model_dump(mode="json")
    candidates = [(name, list(_overrides(_preset_values(name), values))) for name in _default_first()]
    preset, overrides = min(candidates, key=lambda candidate: len(candidate[1]))
    return {"preset": preset, "overrides": overrides}


def _default_first() -> list[str]:
    return sorted(preset_names(), key=lambda name: (name != DEFAULT, name))


def _overrides(preset: Mapping[str, Any], values: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield `path.to.parameter=value` for each field of `values` that has another value in `preset`."""
    for name, value in values.items():
        old = preset[name]
        if isinstance(old, Mapping) and isinstance(value, Mapping) and old.keys() == value.keys():
            yield from _overrides(old, value, f"{path}{name}.")
        elif old != value:
            text = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), allow_unicode=True)
            yield f"{path}{name}={text.strip().removesuffix('...').strip()}"


@cache  # the files do not change while a process runs
def _preset_values(name: str) -> dict[str, Any]:
    return load_preset(name).model_dump(mode="json")


def nearest_preset(settings: Mapping[str, Any], stage: str) -> tuple[str, dict[str, Any]]:
    """Return the preset nearest to a stage's settings (`identity()`), and its value of each parameter that differs."""
    own, presets = flatten(settings), []
    for name in _default_first():
        others = flatten(getattr(load_preset(name), stage).identity())
        changed = {path: others.get(path) for path, value in own.items() if others.get(path, _ABSENT) != value}
        presets.append((name, changed))
    return min(presets, key=lambda preset: len(preset[1]))


def flatten(settings: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return nested settings as a flat dict from `path.to.parameter` to value."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= flatten(value, f"{path}{key}.") if isinstance(value, Mapping) else {f"{path}{key}": value}
    return flat


P = TypeVar("P", bound=BaseModel)


def parse(model: type[P], values: Any, where: str) -> P:
    """Return `values` as `model`; raise an InputError of one line with each bad field, its value and its bound."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, fault['loc'])) or where}: {fault['msg']}, got {fault['input']!r:.80}"
            for fault in error.errors(include_url=False)
        ]
        rest = f"; and {len(faults) - _MAX_FAULTS} more" if len(faults) > _MAX_FAULTS else ""
        raise InputError(f"bad parameter in {where}: {'; '.join(faults[:_MAX_FAULTS])}{rest}") from error


def _apply_override(tree: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    if not equals or not dotted.strip():
        raise InputError(f"--set {override:.200}: write path.to.parameter=value, e.g. convert.window=27")
    *path, name = dotted.strip().split(".")
    if len(path) > MAX_DEPTH:
        raise InputError(f"--set {override:.200}: the path has more than {MAX_DEPTH} names before the parameter")
    node = tree
    for step in path:
        child = node.get(step, {})
        if not isinstance(child, dict):
            raise InputError(f"--set {override:.200}: {step!r} is a value and contains no parameters")
        node[step] = dict(child)  # a copy: a YAML anchor puts one mapping in several places
        node = node[step]
    node[name] = _read_yaml(text, where=f"--set {override:.200}")


class _Loader(yaml.SafeLoader):
    """Read 06 and 12:30 as text, because they may be group names; YAML 1.1 reads them as octal and sexagesimal."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regex) for tag, regex in resolvers if not tag.endswith(":int")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(0|[1-9][0-9_]*)$"), list("-+0123456789"))


def _read_yaml(text: str, where: str) -> Any:
    """Return the value of a YAML text; raise an InputError that begins with `where` if it is invalid or too large."""
    if len(text) > MAX_CHARACTERS:
        raise InputError(f"{where}: the text is longer than {MAX_CHARACTERS:,} characters")
    try:
        if fault := _exceeded_limit(text):
            raise InputError(f"{where}: {fault}")
        return yaml.load(text, _Loader)
    except InputError:
        raise
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the last two: an impossible date or number
        raise InputError(f"{where}: not valid YAML: {' '.join(str(error).split())[:500]}") from error


def _exceeded_limit(text: str) -> str | None:
    """Return a sentence about the limit that the YAML text exceeds, or None.

    A few lines with anchors can expand to more values than fit in memory, and deep nesting exhausts the stack. So the
    parser's events are counted before any value is built.
    """
    sizes: dict[str, int] = {}  # number of values of each anchor, aliases expanded
    open_nodes: list[tuple[str | None, int]] = []  # anchor of each open node, and number of values before it
    values = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = values - before
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, values))
            values += 1
        elif isinstance(event, yaml.AliasEvent):
            alias = str(event.anchor)
            if any(anchor == alias for anchor, _ in open_nodes):
                return f"the alias *{alias[:50]} is inside the value that it refers to"
            values += sizes.get(alias, 1)
        elif isinstance(event, yaml.ScalarEvent):
            if event.anchor:
                sizes[event.anchor] = 1
            values += 1
        if len(open_nodes) > MAX_DEPTH:
            return f"the values are nested deeper than {MAX_DEPTH} levels"
        if values > MAX_VALUES:
            return f"the text has more than {MAX_VALUES:,} values (aliases expanded)"
    return None
