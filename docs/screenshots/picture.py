"""Helpers for screenshots of a web page: size, waiting, clicking, saving."""

import io
import time
from pathlib import Path

from PIL import Image

from docs.chromium import Page

WIDTH = 1280  # pixels
COLOURS = 128  # of the palette, which makes the file four times smaller


def resize(page: Page, height: int) -> None:
    """Set the height of the page."""
    page.ask("Emulation.setDeviceMetricsOverride", width=WIDTH, height=height, deviceScaleFactor=1, mobile=False)


def go_to(page: Page, address: str, content: str) -> None:
    """Open an address and wait for a text."""
    page.ask("Page.navigate", url=address)
    page.wait_for(f"document.body?.innerText.includes({content!r})")


def button(name: str) -> str:
    """Return a script that finds a button or tab by its label or text."""
    kinds = "button, [role=button], [role=tab], li, a, span"
    return f"[...document.querySelectorAll('{kinds}')].find((one) => (one.ariaLabel || one.innerText) == {name!r})"


def click(page: Page, name: str) -> None:
    """Click a button as soon as it exists."""
    page.wait_for(button(name))
    page.run(f"{button(name)}.click()")


def settle(page: Page, seconds: float = 3.0, at_most: float = 20.0) -> None:
    """Wait until the page has not changed for `seconds`, but at most `at_most` seconds."""
    before, since, end = b"", time.monotonic(), time.monotonic() + at_most
    while time.monotonic() < min(since + seconds, end):
        if (now := page.picture()) != before:
            before, since = now, time.monotonic()
        time.sleep(0.3)


def save(page: Page, file: Path) -> None:
    """Save the page as PNG with a palette."""
    picture = Image.open(io.BytesIO(page.picture())).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)
    print(f"{file}: {picture.width} x {picture.height}, {file.stat().st_size / 1000:.0f} kB")
