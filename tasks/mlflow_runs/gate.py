"""MLflow's server behind a password: `mlflow server --app-name uplift-gate`.

Plain HTTP basic authentication in front of all that the server answers. MLflow's own `basic-auth` is for many users
with permissions each, and needs a database of them and Flask-WTF.
"""

import base64
import binascii
import hmac
import os
from typing import Any

from tasks.mlflow_runs import server

HEALTH = "/health"  # says nothing but OK; Prefect's answers without a password, too
PASSWORD, USER = "UPLIFT_API_PASSWORD", "uplift"


class Gate:
    """An ASGI application that passes on what bears the password, and answers 401 to the rest."""

    def __init__(self, app: Any, password: str) -> None:
        self.app, self.wanted = app, f"{USER}:{password}".encode()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """One connection."""
        if scope["type"] == "lifespan" or scope.get("path") == HEALTH or self._may_pass(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"www-authenticate", b'Basic realm="mlflow"'), (b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": b"the password of this server is needed"})

    def _may_pass(self, scope: dict[str, Any]) -> bool:
        scheme, _, said = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
        try:
            return scheme.lower() == b"basic" and hmac.compare_digest(base64.b64decode(said), self.wanted)
        except binascii.Error:
            return False


def create_app() -> Gate:
    """The application that `mlflow server` runs.

    Raises
    ------
    RuntimeError
        There is no password in the environment.
    """
    password = os.environ.get(PASSWORD)
    if not password:
        raise RuntimeError(f"{PASSWORD} is not set: an MLflow server behind a password needs one")
    return Gate(server.create_app(), password)
