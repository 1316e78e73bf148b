"""The application of MLflow's server: `mlflow server --app-name uplift-mlflow`.

What it has imported is put out of the garbage collector's sight: 300,000 objects that never go. A search for a hundred
runs, as MLflow's table asks for, makes objects enough for the collector to look through all of those once or twice,
which took four tenths of its time (`benchmarks.mlflow_search`).
"""

import gc
from typing import Any


def create_app() -> Any:
    """The ASGI application that MLflow's server runs untold."""
    from mlflow.server.fastapi_app import app

    gc.collect()
    gc.freeze()
    return app
