"""HTTP server of a model: MLflow's scoring server with a limit on the size of requests."""

from pathlib import Path

import mlflow
import uvicorn
from mlflow.pyfunc import scoring_server
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
    """Serve a model URI until SIGINT or SIGTERM; the version behind an alias does not change while the server runs."""
    connect(store)
    app = scoring_server.init(mlflow.pyfunc.load_model(model))
    uvicorn.run(BodyLimit(app), host=host, port=port)
