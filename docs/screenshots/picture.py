"""What pictures of a web page have in common: their size, what is waited for, what is clicked, how they are kept."""

import io
import time
from pathlib import Path

from PIL import Image

from docs.chromium import Page

WIDTH = 1280  # pixels
COLOURS = 128  # of a picture's palette: a quarter of the bytes


def resize(page: Page, height: int) -> None:
    """So high, from now on."""
    page.ask("Emulation.setDeviceMetricsOverride", width=WIDTH, height=height, deviceScaleFactor=1, mobile=False)


def go_to(page: Page, address: str, content: str) -> None:
    """Another page, as soon as the text is there that it is shown for."""
    page.ask("Page.navigate", url=address)
    page.wait_for(f"document.body?.innerText.includes({content!r})")


def button(name: str) -> str:
    """Script that finds a button, or a tab, by its label or text."""
    kinds = "button, [role=button], [role=tab], li, a, span"
    return f"[...document.querySelectorAll('{kinds}')].find((one) => (one.ariaLabel || one.innerText) == {name!r})"


def click(page: Page, name: str) -> None:
    """A button, once it is there."""
    page.wait_for(button(name))
    page.run(f"{button(name)}.click()")


def settle(page: Page, seconds: float = 3.0, at_most: float = 20.0) -> None:
    """Wait until nothing has changed for so long: what a page asks for piece by piece, and draws; some never rest."""
    before, since, end = b"", time.monotonic(), time.monotonic() + at_most
    while time.monotonic() < min(since + seconds, end):
        if (now := page.picture()) != before:
            before, since = now, time.monotonic()
        time.sleep(0.3)


def save(page: Page, file: Path) -> None:
    """The page as PNG, in a palette."""
    picture = Image.open(io.BytesIO(page.picture())).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)
    print(f"{file}: {picture.width} x {picture.height}, {file.stat().st_size / 1000:.0f} kB")
