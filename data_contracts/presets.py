"""Presets: a YAML of `PipelineParameters` each; `--set path.to.parameter=value` writes into the same tree."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from data_contracts.errors import InputError
from data_contracts.parameters import PipelineParameters
from data_contracts.yaml_text import MOST_CHARACTERS, MOST_DEPTH, read_yaml

DEFAULT = "demo"
_ABSENT = object()
_NAMED = 20  # faults of a preset
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
        Unknown preset, unreadable or too large YAML, unknown parameter, or a value outside its bounds: names each.
    """
    path = Path(preset) if preset.endswith((".yaml", ".yml")) else PRESETS / f"{preset}.yaml"
    if not path.is_file():
        raise InputError(f"no preset {preset!r}: pass one of {', '.join(preset_names())}, or a YAML file")
    tree = read_yaml(_beginning(path), where=str(path)) or {}
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
    """`values` as `model`, or an InputError of one line that names the fields, their values and their bounds."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, fault['loc'])) or where}: {fault['msg']}, got {fault['input']!r:.80}"
            for fault in error.errors(include_url=False)
        ]
        rest = f"; and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        raise InputError(f"bad parameter in {where}: {'; '.join(faults[:_NAMED])}{rest}") from error


def _beginning(path: Path) -> str:
    """As much of a file as may be read; one character more than a preset may have."""
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(MOST_CHARACTERS + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error


def _apply_override(tree: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    if not equals or not dotted.strip():
        raise InputError(f"--set {override:.200}: write path.to.parameter=value, for example convert.window=27")
    *path, name = dotted.strip().split(".")
    if len(path) > MOST_DEPTH:
        raise InputError(f"--set {override:.200}: a parameter has at most {MOST_DEPTH} names before its own")
    node = tree
    for step in path:
        child = node.get(step, {})
        if not isinstance(child, dict):
            raise InputError(f"--set {override:.200}: {step!r} is a value, it has no parameters of its own")
        node[step] = dict(child)  # its own: what an anchor of YAML names is one mapping in several places
        node = node[step]
    node[name] = read_yaml(text, where=f"--set {override:.200}")
