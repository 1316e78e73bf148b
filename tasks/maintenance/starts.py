"""Starts of the stack's services, in hidden files of the store: `uplift status` names a service that restarted."""

import time
from pathlib import Path

_ENDING, _FORMAT, _KEPT = ".starts", "%Y-%m-%dT%H:%M:%S", 100


def record_start(store: Path, service: str) -> None:
    """Add the present time to the starts of a service."""
    file = store / f".{service}{_ENDING}"
    store.mkdir(parents=True, exist_ok=True)
    before = file.read_text().split() if file.is_file() else []
    file.write_text("\n".join([*before[1 - _KEPT :], time.strftime(_FORMAT, time.gmtime())]))


def forget_starts(store: Path) -> None:
    """Delete the recorded starts of all services; for a stack that a person starts again."""
    for file in store.glob(f".*{_ENDING}"):
        file.unlink()


def restarted(store: Path, hours: float = 24) -> dict[str, list[str]]:
    """Return the services that started more than once in the last `hours`, each with its starts (UTC, ISO 8601)."""
    oldest = time.strftime(_FORMAT, time.gmtime(time.time() - 3600 * hours))
    files = sorted(store.glob(f".*{_ENDING}"))
    starts = {file.stem[1:]: [start for start in file.read_text().split() if start > oldest] for file in files}
    return {service: times for service, times in starts.items() if len(times) > 1}
