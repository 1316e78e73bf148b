"""Prefect's server without access for other web pages: `uvicorn --factory flows.deployment.prefect_app:create_app`.

Prefect does not check the origin of requests: a page on any site could send requests to the API through a visitor's
browser. CORS does not prevent this, because a browser sends simple requests and WebSockets without a preflight.
"""

from urllib.parse import urlsplit

from prefect.server.api import server
from starlette.datastructures import Headers
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from flows.deployment.settings import read_settings


class SameOriginMiddleware:
    """ASGI middleware that answers requests and WebSockets from pages of another origin with status 403."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            headers = Headers(scope=scope)
            origin = headers.get("origin")  # browsers send it, workers and clients do not
            if origin is not None and urlsplit(origin).netloc != headers.get("host"):
                return await PlainTextResponse("Foreign origin", status_code=403)(scope, receive, send)
        return await self.app(scope, receive, send)


def create_app() -> ASGIApp:
    """Return Prefect's API and UI behind checks of the headers Host and Origin."""
    app = SameOriginMiddleware(server.create_app(final=True))
    return TrustedHostMiddleware(app, read_settings().host_names, www_redirect=False)
