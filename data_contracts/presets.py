"""Presets: a YAML of `PipelineParameters` each; `--set path.to.parameter=value` writes into the same tree."""

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
PRESETS = Path(__file__).parent.parent / "presets"


def preset_names() -> list[str]:
    """Names of the presets that come with the project."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load_preset(preset: str, overrides: Sequence[str] | None = None) -> PipelineParameters:
    """Parameters of a preset with `path.to.parameter=value` overrides applied.

    Parameters
    ----------
    preset
        Name of a file in `presets/`, or a path to a YAML file.
    overrides
        Each `path=value`; the value is read as YAML.

    Raises
    ------
    InputError
        Unknown preset, unreadable YAML, unknown parameter, or a value outside its bounds: names each of them.
    """
    path = Path(preset) if preset.endswith((".yaml", ".yml")) else PRESETS / f"{preset}.yaml"
    if not path.is_file():
        raise InputError(f"no preset {preset!r}: pass one of {', '.join(preset_names())}, or a YAML file")
    tree = _read_yaml(path.read_text(encoding="utf-8"), where=str(path)) or {}
    if not isinstance(tree, dict):
        raise InputError(f"{path}: a preset is a mapping of stages, not {type(tree).__name__}")
    for override in overrides or []:
        _apply_override(tree, override)
    return parse(PipelineParameters, tree, where=preset)


def preset_and_overrides(parameters: PipelineParameters) -> dict[str, Any]:
    """Return `preset` and `overrides` for which `load_preset` returns exactly these parameters.

    The preset is the one of this project that needs the fewest overrides, so a process on another machine needs no
    preset file of the user's.

    Returns
    -------
    dict
        `preset`: a name; `overrides`: a list of `path.to.parameter=value`.
    """
    wanted = parameters.model_dump(mode="json")
    names = sorted(preset_names(), key=lambda name: (name != DEFAULT, name))
    found = [(name, list(_overrides(_values_of(name), wanted))) for name in names]
    preset, overrides = min(found, key=lambda one: len(one[1]))
    return {"preset": preset, "overrides": overrides}


def _overrides(values: Mapping[str, Any], wanted: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield an override for every field of `wanted` that differs in `values`."""
    for name, value in wanted.items():
        old = values[name]
        if isinstance(old, Mapping) and isinstance(value, Mapping) and old.keys() == value.keys():
            yield from _overrides(old, value, f"{path}{name}.")
        elif old != value:
            text = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), allow_unicode=True)
            yield f"{path}{name}={text.strip().removesuffix('...').strip()}"


@cache  # the files do not change while a process runs
def _values_of(name: str) -> dict[str, Any]:
    return load_preset(name).model_dump(mode="json")


def nearest_presets(settings: Mapping[str, Any], stage: str | None = None) -> list[tuple[str, dict[str, Any]]]:
    """The presets by how few of these settings they have otherwise, and which: `path.to.parameter` -> theirs.

    Parameters
    ----------
    settings
        The parameters of a stage that count, as JSON; of a pipeline without `stage`.
    """
    own = flatten(settings)
    found = []
    for name in sorted(preset_names(), key=lambda name: (name != DEFAULT, name)):
        theirs = _settings_of(name, stage)
        changed = {path: theirs.get(path) for path, value in own.items() if theirs.get(path, _ABSENT) != value}
        found.append((name, changed))
    return sorted(found, key=lambda preset: len(preset[1]))


def flatten(settings: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Nested settings as `path.to.parameter` -> value."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= flatten(value, f"{path}{key}.") if isinstance(value, Mapping) else {f"{path}{key}": value}
    return flat


@cache  # the files do not change while a process runs
def _settings_of(name: str, stage: str | None) -> dict[str, Any]:
    parameters = load_preset(name)
    return flatten((getattr(parameters, stage) if stage else parameters).identity())


P = TypeVar("P", bound=BaseModel)


def parse(model: type[P], values: Any, where: str) -> P:
    """`values` as `model`, or an InputError of one line that names each field, its value and its bound."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or where}: {fault['msg']}, got {fault['input']!r:.80}"
            for fault in error.errors(include_url=False)
        )
        raise InputError(f"bad parameter in {where}: {faults}") from error


def _apply_override(tree: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    if not equals or not dotted.strip():
        raise InputError(f"--set {override}: write path.to.parameter=value, for example convert.window=27")
    *path, name = dotted.strip().split(".")
    node = tree
    for step in path:
        child = node.get(step, {})
        if not isinstance(child, dict):
            raise InputError(f"--set {override}: {step!r} is a value, it has no parameters of its own")
        node[step] = dict(child)  # its own: what an anchor of YAML names is one mapping in several places
        node = node[step]
    node[name] = _read_yaml(text, where=f"--set {override}")


class _Yaml(yaml.SafeLoader):
    """YAML in which 06 is text, as a group's name: YAML 1.1 reads an octal number, and 12:30 in sixties."""


_Yaml.yaml_implicit_resolvers = {
    first: [(tag, regex) for tag, regex in resolvers if not tag.endswith(":int")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Yaml.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(0|[1-9][0-9_]*)$"), list("-+0123456789"))


def _read_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, _Yaml)
    except yaml.YAMLError as error:
        raise InputError(f"{where}: not YAML: {' '.join(str(error).split())}") from error
