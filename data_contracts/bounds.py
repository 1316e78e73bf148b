"""Check a table against the bounds of a pandera model."""

import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors


def broken_checks(model: type[pa.DataFrameModel], table: pd.DataFrame, key: str) -> pd.DataFrame:
    """Return one row per failed check, with columns `key`, check, value and bound; empty if all rows pass."""
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
