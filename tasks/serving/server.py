"""HTTP server of a model: MLflow's scoring server with a limit on requests, which follows an alias of the registry."""

import logging
import threading
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import uvicorn
from mlflow.pyfunc import PyFuncModel, scoring_server
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from data_contracts.store.checking import verify_input
from tasks.serving.keypoint_requests import lift_request
from tasks.tracking.logged_models import save_lifter
from tasks.tracking.models import find_lifting_model, is_in_mlflow
from tasks.tracking.names import MODEL_NAME
from tasks.tracking.registry import find_version, version_uri
from tasks.tracking.runs import connect

MAX_BODY = 24_000_000  # bytes; `served_lifter.MAX_POSES` poses are about 20 MB of JSON
FOLLOW_SECONDS = 10.0  # between two reads of the alias

_LOG = logging.getLogger(__name__)


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
                refusal = PlainTextResponse(f"at most {self.limit:,} bytes per request: send several requests", 413)
                return await refusal(scope, receive, send)
        unread = [bytes(body)]

        async def read() -> Message:
            if unread:
                return {"type": "http.request", "body": unread.pop(), "more_body": False}
            return await receive()

        return await self.app(scope, read, send)


class ModelServer:
    """ASGI application of one model; `use` replaces the model, and a request that has begun keeps its model.

    The routes are those of MLflow's scoring server, POST /lift (`keypoint_requests`), and GET /version. Each answer has
    the header `X-Model-Version`.
    """

    def __init__(self, uri: str, model: PyFuncModel) -> None:
        self.use(uri, model)

    def use(self, uri: str, model: PyFuncModel) -> None:
        """Answer new requests with `model`; `uri` contains its version."""
        routes = [
            Route("/version", lambda _: JSONResponse({"model": uri, "mlflow": mlflow.__version__})),
            Route("/lift", partial(lift_request, model, uri), methods=["POST"]),
            Mount("/", app=scoring_server.init(model)),
        ]
        self._current = uri, Starlette(routes=routes)

    @property
    def uri(self) -> str:
        """URI of the model that answers new requests."""
        return self._current[0]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        uri, app = self._current

        async def send_with_version(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-model-version", uri.encode("ascii", "replace"))]
            await send(message)

        await app(scope, receive, send_with_version)


def serve(store: Path, model: str, host: str, port: int) -> None:
    """Serve a model until SIGINT or SIGTERM; if the alias in its URI moves, serve the new version from then on."""
    server = ModelServer(*load_model(store, model))
    threading.Thread(target=_follow, args=(server, store, model), daemon=True).start()
    uvicorn.run(BodyLimit(server), host=host, port=port)


def _follow(server: ModelServer, store: Path, model: str) -> None:
    while "@" in model:
        time.sleep(FOLLOW_SECONDS)
        follow_once(server, store, model)


def follow_once(server: ModelServer, store: Path, model: str) -> None:
    """Exchange the model of the server if its alias names another version; after an error nothing changes."""
    try:
        uri = current_uri(store, model)
        if uri != server.uri:
            server.use(*load_model(store, uri))
            _LOG.warning("%s is %s now; new requests use it", model, uri)
    except Exception as error:  # of MLflow, its database, or PyTorch; the thread must not end
        reason = " ".join(str(error).split())
        _LOG.warning("%s: its version cannot be read or loaded (%s); the server keeps %s", model, reason, server.uri)


def current_uri(store: Path, model: str) -> str:
    """Return a model URI with the version number that its alias names now; other references are returned unchanged."""
    if not model.startswith(f"models:/{MODEL_NAME}@"):
        return model
    return version_uri(find_version(connect(store), model))


def load_model(store: Path, model: str) -> tuple[str, PyFuncModel]:
    """Return URI (with version) and MLflow model of a model URI, run folder, digest, checkpoint file or `SHIPPED`."""
    if is_in_mlflow(model):
        uri = current_uri(store, model)
        connect(store)
        return uri, mlflow.pyfunc.load_model(uri)
    found = find_lifting_model(store, model)
    verify_input(found.checkpoint)
    with TemporaryDirectory() as folder:
        save_lifter(Path(folder) / "model", found.checkpoint, found.flip)
        return model, mlflow.pyfunc.load_model(f"{folder}/model")
