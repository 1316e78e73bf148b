"""Check a table against the bounds of a pandera model."""

from typing import Any

import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

_WORDS = {
    "greater_than": "above",
    "greater_than_or_equal_to": "at least",
    "less_than": "below",
    "less_than_or_equal_to": "at most",
    "equal_to": "exactly",
    "in_range": "a value in the range",
    "isin": "one of",
}


def broken_checks(model: type[pa.DataFrameModel], table: pd.DataFrame, key: str) -> pd.DataFrame:
    """Return one row per failed check; empty if all rows pass.

    Columns: the column of `table` named `key`, check (name of the column out of bounds), value and bound.
    """
    try:
        model.validate(table, lazy=True)
    except SchemaErrors as error:
        cases = error.failure_cases
        return pd.DataFrame(
            {
                key: table[key].to_numpy()[cases["index"].astype(int)],
                "check": cases["column"].to_numpy(),
                "value": cases["failure_case"].to_numpy(),
                "bound": cases["check"].to_numpy(),
            }
        )
    return pd.DataFrame(columns=[key, "check", "value", "bound"])


def describe_fault(model: type[pa.DataFrameModel], fault: Any) -> str:
    """Return a row of `broken_checks` in words: name and description of the column, found value, allowed values."""
    column = model.to_schema().columns.get(fault.check)
    meaning = f" ({column.description.rstrip('.')})" if column is not None and column.description else ""
    value = f"{fault.value:.4g}" if isinstance(fault.value, float) else fault.value
    check, _, bound = str(fault.bound).partition("(")
    expected = f"{_WORDS[check]} {bound.removesuffix(')')}" if check in _WORDS else fault.bound
    return f"{fault.check}{meaning} is {value}, expected {expected}"
