"""Load presets (YAML files of `PipelineParameters`) and apply `--set path.to.parameter=value` overrides to them."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from data_contracts.errors import InputError
from data_contracts.parameters import PipelineParameters
from data_contracts.parameters.yaml_text import MAX_CHARACTERS, MAX_DEPTH, read_yaml

DEFAULT = "demo"
_ABSENT = object()
_MAX_FAULTS = 20  # faults of a preset in one error message
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
        Each `path.to.parameter=value`; the value is read as YAML.

    Raises
    ------
    InputError
        The preset or a parameter is unknown, the YAML is not readable or too large, or a value is outside its bounds.
        The message lists each fault.
    """
    path = Path(preset) if preset.endswith((".yaml", ".yml")) else PRESETS / f"{preset}.yaml"
    if not path.is_file():
        raise InputError(f"unknown preset {preset!r}: pass one of {', '.join(preset_names())}, or a YAML file")
    tree = read_yaml(_read_start(path), where=str(path)) or {}
    if not isinstance(tree, dict):
        raise InputError(f"{path}: expected a mapping of stages, got {type(tree).__name__}")
    for override in overrides or []:
        _apply_override(tree, override)
    return parse(PipelineParameters, tree, where=preset)


def preset_and_overrides(parameters: PipelineParameters) -> dict[str, Any]:
    """Return the `preset` and `overrides` for which `load_preset` returns exactly these parameters.

    The preset is one of this project: the one that needs the fewest overrides. Another machine can therefore build the
    parameters without a preset file of the user.
    """
    values = parameters.model_dump(mode="json")
    candidates = [(name, list(_overrides(_preset_values(name), values))) for name in _default_first()]
    preset, overrides = min(candidates, key=lambda candidate: len(candidate[1]))
    return {"preset": preset, "overrides": overrides}


def _default_first() -> list[str]:
    return sorted(preset_names(), key=lambda name: (name != DEFAULT, name))


def _overrides(preset: Mapping[str, Any], values: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield an override for each field of `values` that differs in `preset`."""
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
    """Return the preset that is most similar to the settings of a stage, and its values of the settings that differ.

    The settings are the parameters in the digest of the stage (`identity()`); the values are by `path.to.parameter`.
    """
    own, presets = flatten(settings), []
    for name in _default_first():
        others = flatten(getattr(load_preset(name), stage).identity())
        changed = {path: others.get(path) for path, value in own.items() if others.get(path, _ABSENT) != value}
        presets.append((name, changed))
    return min(presets, key=lambda preset: len(preset[1]))


def flatten(settings: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return nested settings as `path.to.parameter` -> value."""
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


def _read_start(path: Path) -> str:
    """Return at most one character more than a preset may have, so that `read_yaml` rejects a longer file."""
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(MAX_CHARACTERS + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the file cannot be read ({error})") from error


def _apply_override(tree: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    if not equals or not dotted.strip():
        raise InputError(f"--set {override:.200}: write path.to.parameter=value, e.g. convert.window=27")
    *path, name = dotted.strip().split(".")
    if len(path) > MAX_DEPTH:
        raise InputError(f"--set {override:.200}: the path has more than {MAX_DEPTH} names before the last one")
    node = tree
    for step in path:
        child = node.get(step, {})
        if not isinstance(child, dict):
            raise InputError(f"--set {override:.200}: {step!r} is a value and contains no parameters")
        node[step] = dict(child)  # a copy: a YAML anchor puts one mapping in several places
        node = node[step]
    node[name] = read_yaml(text, where=f"--set {override:.200}")
