"""Errors that name what a person can act on: what was wrong, where, and what to do."""


class InputError(ValueError):
    """An input, parameter or file given from outside is refused.

    The message stands alone: it names the file, clip or field, the value, and the bound or the remedy. The command
    line prints it as its one line and ends with exit code 2.
    """


class RefusedPickle(InputError):
    """A pickle asked for something other than numpy arrays and plain containers, or is damaged."""
