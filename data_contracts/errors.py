"""Errors for the user: the message states the fault, the place and the remedy."""

from collections.abc import Sequence

from data_contracts.text import printable

_NAMED = 5


class InputError(ValueError):
    """Invalid input, parameter or file.

    The message names the file, clip or field, the value, and the bound or the remedy. The command line prints it as
    one line and ends with exit code 2. Control characters, which a file name may contain, are escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class RefusedPickle(InputError):
    """A pickle is damaged, or contains something other than numpy arrays and plain containers."""


def some(names: Sequence[object]) -> str:
    """Return the first five names as text for an error message, e.g. `a, b, c, d, e and 3 more`."""
    return ", ".join(map(str, names[:_NAMED])) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
