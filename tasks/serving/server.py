"""HTTP server of a model: MLflow's scoring server with a limit on the size of requests."""

from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import uvicorn
from mlflow.pyfunc import PyFuncModel, scoring_server
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from data_contracts.store.checking import verify_input
from tasks.tracking.logged_models import save_lifter
from tasks.tracking.models import find_lifting_model, is_in_mlflow
from tasks.tracking.runs import connect

MAX_BODY = 24_000_000  # bytes; `served_lifter.MAX_POSES` poses are about 20 MB of JSON


class BodyLimit:
    """Refuse request bodies above `limit` bytes with status 413: MLflow needs about 50 times the body in memory."""

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY) -> None:
        self.app, self.limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body of an HTTP request up to the limit and pass it to the application."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        body, more = bytearray(), True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self.limit:
                refusal = PlainTextResponse(f"a request has at most {self.limit:,} bytes: send several", 413)
                return await refusal(scope, receive, send)
        unread = [bytes(body)]

        async def read() -> Message:
            if unread:
                return {"type": "http.request", "body": unread.pop(), "more_body": False}
            return await receive()

        return await self.app(scope, read, send)


def serve(store: Path, model: str, host: str, port: int) -> None:
    """Serve a model until SIGINT or SIGTERM; the version behind an alias does not change while the server runs."""
    uvicorn.run(BodyLimit(scoring_server.init(load_model(store, model))), host=host, port=port)


def load_model(store: Path, model: str) -> PyFuncModel:
    """Return the MLflow model of a model URI, or of a run folder, digest, checkpoint file or `SHIPPED`."""
    if is_in_mlflow(model):
        connect(store)
        return mlflow.pyfunc.load_model(model)
    found = find_lifting_model(store, model)
    verify_input(found.checkpoint)
    with TemporaryDirectory() as folder:
        save_lifter(Path(folder) / "model", found.checkpoint, found.flip)
        return mlflow.pyfunc.load_model(f"{folder}/model")
