"""Progress bars for the terminal."""

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task
from rich.text import Text

from data_contracts.text import printable


class _Description(ProgressColumn):
    """Column with the description of a task, without markup and with escaped control characters."""

    def render(self, task: Task) -> Text:
        return Text(printable(task.description))


def progress_bar(console: Console | None = None) -> Progress:
    """Return progress bars on stderr, one line per task; the lines disappear when the block ends."""
    return Progress(_Description(), BarColumn(), console=console or Console(stderr=True), transient=True)
