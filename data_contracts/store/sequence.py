"""Sequence numbers: the order in which a store wrote its results and started its runs, independent of the clock."""

import json
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from data_contracts.store.manifests import MANIFEST

SEQUENCE = "sequence"  # entry of a manifest
_FILE, _LOCK = ".sequence", ".sequence.lock"


def next_sequence(store: Path) -> int:
    """Return a number greater than all numbers that the store returned before.

    The number is the time in milliseconds since 1970, or the last number plus one if the clock shows an earlier time.
    If the file with the last number is lost or damaged, the greatest number in the manifests replaces it.
    """
    file = store / _FILE
    with FileLock(store / _LOCK):
        try:
            last = int(file.read_text(encoding="ascii"))
        except (OSError, ValueError):
            last = _greatest(store)
        number = max(last + 1, time.time_ns() // 1_000_000)
        new = file.with_name(f"{_FILE}.partial")
        new.write_text(f"{number}\n", encoding="ascii")
        new.replace(file)
    return number


def manifest_sequence(manifest: dict[str, Any]) -> int:
    """Return the sequence number of a manifest; if the manifest has none, the time of its creation in milliseconds."""
    number = manifest.get(SEQUENCE)
    return int(number) if number else round((datetime.fromisoformat(manifest["created"]).timestamp() + 1) * 1000)


def _greatest(store: Path) -> int:
    numbers = [0]
    for path in store.glob(f"*/[!.]*/{MANIFEST}"):
        with suppress(OSError, ValueError, KeyError, TypeError):  # a damaged manifest has no number
            numbers.append(manifest_sequence(json.loads(path.read_text(encoding="utf-8"))))
    return max(numbers)
