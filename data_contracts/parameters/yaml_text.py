"""Read the YAML of presets and overrides, after its size has been checked.

- A few lines with anchors can expand to more values than fit in memory, and deep nesting exhausts the stack.
- Therefore the parser's events are counted before any value is built. An alias counts with all its values.
"""

import re
from typing import Any

import yaml

from data_contracts.errors import InputError

MAX_CHARACTERS = 2**18
MAX_VALUES = 20_000  # a preset has about 200
MAX_DEPTH = 20


class _Loader(yaml.SafeLoader):
    """Read 06 and 12:30 as text, because they may be group names; YAML 1.1 reads them as octal and sexagesimal."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regex) for tag, regex in resolvers if not tag.endswith(":int")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(0|[1-9][0-9_]*)$"), list("-+0123456789"))


def read_yaml(text: str, where: str) -> Any:
    """Return the value of a YAML text; `where` names the text in errors.

    Raises
    ------
    InputError
        The text is not YAML, is longer than `MAX_CHARACTERS`, has more than `MAX_VALUES` values (aliases
        expanded), or is nested deeper than `MAX_DEPTH`.
    """
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
    """Return which limit the text exceeds, or None."""
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
