"""Control a headless Chromium by its DevTools protocol, for tests of HTML pages and for `docs/screenshots`."""

import base64
import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    *("--remote-debugging-port=0", "--disable-dev-shm-usage"),
)


class NoBrowserError(Exception):
    """No browser was found, or the browser did not start."""


class Page:
    """One page of a browser; `errors`: errors of its scripts, `requests`: requested addresses.

    Parameters
    ----------
    address
        Address of the DevTools socket of the page.
    """

    def __init__(self, address: str) -> None:
        self.socket, self.numbers = connect(address, max_size=None), count(1)
        self.errors: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command, record the events until its answer, and return the answer."""
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv(timeout=60))
            if message.get("id") == number:
                assert "error" not in message, message
                return dict(message["result"])
            self._note(message)

    def open(self, file: Path) -> None:
        """Open a file and wait until it is loaded."""
        self.ask("Page.navigate", url=file.as_uri())
        while self.run("document.readyState + location.protocol") != "completefile:":
            pass

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page; a promise is awaited."""
        answer = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, condition: str, seconds: float = 60) -> None:
        """Wait until an expression is true in the page.

        Raises
        ------
        TimeoutError
            The expression is still false; the message contains the text of the page.
        """
        end = time.monotonic() + seconds
        while not self.run(f"Boolean({condition})"):
            if time.monotonic() > end:
                raise TimeoutError(f"{condition}: not within {seconds:g} s in\n{self.run('document.body.innerText')}")
            time.sleep(0.1)

    def press(self, key: str, modifiers: int = 0) -> None:
        """Press and release a key; modifier 8 is shift."""
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, modifiers=modifiers)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag with the left button from one point (x, y) of the page to another."""
        for kind, (x, y) in (("mousePressed", start), ("mouseMoved", end), ("mouseReleased", end)):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def picture(self) -> bytes:
        """Return the page as PNG."""
        return base64.b64decode(self.ask("Page.captureScreenshot")["data"])

    def _note(self, message: dict[str, Any]) -> None:
        if message["method"] == "Runtime.exceptionThrown":
            self.errors.append(str(message["params"]))
        elif message["method"] == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
            self.errors.append(message["params"]["entry"]["text"])
        elif message["method"] == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])


@contextmanager
def chromium(profile: Path, width: int = 1200, height: int = 760) -> Iterator[str]:
    """Run a browser with its own profile and yield host and port of its DevTools.

    Raises
    ------
    NoBrowserError
        No browser is on PATH or in the variable CHROMIUM, or the browser did not start.
    """
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        raise NoBrowserError(f"no browser: install one of {', '.join(NAMES)}, or set CHROMIUM to the path of a browser")
    command = [program, *OPTIONS, f"--window-size={width},{height}", f"--user-data-dir={profile}", "about:blank"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if address := re.search(r"DevTools listening on ws://([^/]+)/", line):
                    break
            else:
                raise NoBrowserError(f"{program} did not start")
            yield address.group(1)
        finally:
            process.kill()


@contextmanager
def new_page(browser: str) -> Iterator[Page]:
    """Open an empty page of the browser at that address and close it at the end."""
    request = urllib.request.Request(f"http://{browser}/json/new?about:blank", method="PUT")
    with urllib.request.urlopen(request) as answer:
        target = json.load(answer)
    opened = Page(target["webSocketDebuggerUrl"])
    yield opened
    opened.socket.close()
    urllib.request.urlopen(f"http://{browser}/json/close/{target['id']}").close()


@contextmanager
def open_frame(browser: str, seconds: float = 60) -> Iterator[Page]:
    """Wait for a frame with its own process (a sandboxed iframe) and yield it.

    Raises
    ------
    TimeoutError
        No such frame appeared.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with urllib.request.urlopen(f"http://{browser}/json/list") as answer:
            frames = [target for target in json.load(answer) if target["type"] == "iframe"]
        if frames:
            opened = Page(frames[0]["webSocketDebuggerUrl"])
            opened.wait_for("document.readyState == 'complete'")
            yield opened
            opened.socket.close()
            return
        time.sleep(0.1)
    raise TimeoutError(f"no frame with its own process within {seconds:g} s")
