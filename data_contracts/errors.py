"""Errors that name what a person can act on: what was wrong, where, and what to do."""

from collections.abc import Sequence

from data_contracts.text import printable

_NAMED = 5


class InputError(ValueError):
    """An input, parameter or file given from outside is refused.

    The message stands alone: it names the file, clip or field, the value, and the bound or the remedy. The command
    line prints it as its one line and ends with exit code 2. Control characters, which a file's name may contain, are
    shown escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class RefusedPickle(InputError):
    """A pickle asked for something other than numpy arrays and plain containers, or is damaged."""


def some(names: Sequence[object]) -> str:
    """The first few names, and how many more there are: for a message."""
    return ", ".join(map(str, names[:_NAMED])) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
