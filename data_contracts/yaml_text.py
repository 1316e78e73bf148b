"""YAML of presets and overrides, bounded before it is built.

A few lines with anchors can name more values than a machine has memory for, and deep nesting exhausts the stack. So the
events of the text are counted first: they come one at a time, and an alias counts as often as it is used.
"""

import re
from typing import Any

import yaml

from data_contracts.errors import InputError

MOST_CHARACTERS = 2**18
MOST_VALUES = 20_000  # a preset has about 200
MOST_DEPTH = 20


class _Loader(yaml.SafeLoader):
    """YAML in which 06 is text, for names of groups: YAML 1.1 reads 06 as octal and 12:30 as sexagesimal."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regex) for tag, regex in resolvers if not tag.endswith(":int")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(0|[1-9][0-9_]*)$"), list("-+0123456789"))


def read_yaml(text: str, where: str) -> Any:
    """Return the value of a YAML text.

    Parameters
    ----------
    where
        Name of the text in errors.

    Raises
    ------
    InputError
        The text is not YAML, is longer than `MOST_CHARACTERS`, has more than `MOST_VALUES` values (aliases written
        out), or is nested deeper than `MOST_DEPTH`.
    """
    if len(text) > MOST_CHARACTERS:
        raise InputError(f"{where}: longer than {MOST_CHARACTERS:,} characters")
    try:
        if fault := _fault(text):
            raise InputError(f"{where}: {fault}")
        return yaml.load(text, _Loader)
    except InputError:
        raise
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the last two: a date or number that cannot be
        raise InputError(f"{where}: not YAML: {' '.join(str(error).split())[:500]}") from error


def _fault(text: str) -> str | None:
    sizes: dict[str, int] = {}  # of what each anchor names, aliases in it written out
    open_nodes: list[tuple[str | None, int]] = []  # anchor, and values before it
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
                return f"*{alias[:50]} names a value that contains it"
            values += sizes.get(alias, 1)
        elif isinstance(event, yaml.ScalarEvent):
            if event.anchor:
                sizes[event.anchor] = 1
            values += 1
        if len(open_nodes) > MOST_DEPTH:
            return f"nested deeper than {MOST_DEPTH} levels"
        if values > MOST_VALUES:
            return f"more than {MOST_VALUES:,} values, with the aliases written out"
    return None
