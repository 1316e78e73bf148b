"""Check the numeric bounds of a pandera model with numpy.

pandera takes 20-40 ms per table, because it copies its schema each time. Therefore pandera validates only the rows that
numpy rejects.
"""

from functools import cache

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors


def within_bounds(model: type[pa.DataFrameModel], table: pd.DataFrame) -> np.ndarray:
    """Return (rows,) bool: True if every bounded numeric column is within the bounds of `model`; NaN never is."""
    low, high = numeric_bounds(model)
    values = table[list(low)].to_numpy(float)
    within = (values >= list(low.values())) & (values <= list(high.values()))
    return np.asarray(within.all(axis=1))


def broken_checks(model: type[pa.DataFrameModel], table: pd.DataFrame, key: str) -> pd.DataFrame:
    """Return the failed checks (columns `key`, check, value, bound), an empty table if all rows pass."""
    table = table[~within_bounds(model, table)].reset_index(drop=True)
    if table.empty:
        return pd.DataFrame(columns=[key, "check", "value", "bound"])
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
    raise AssertionError(f"numpy and pandera disagree on the bounds of {model.__name__}")


@cache
def numeric_bounds(model: type[pa.DataFrameModel]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the lowest and the highest valid value of each bounded column, by column name."""
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    for name, column in model.to_schema().columns.items():
        for check in column.checks:
            bounds = check.statistics
            if not {"value", "min_value", "max_value"} & set(bounds) or "str" in check.name:
                continue
            lowest = bounds.get("min_value", bounds.get("value", -np.inf))
            highest = bounds.get("max_value", bounds.get("value", np.inf))
            lowest = np.nextafter(lowest, np.inf) if check.name == "greater_than" else lowest
            highest = np.nextafter(highest, -np.inf) if check.name == "less_than" else highest
            low[name] = max(lowest, low.get(name, -np.inf))
            high[name] = min(highest, high.get(name, np.inf))
    return low, high
