"""The bar that a person watches."""

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task
from rich.text import Text

from data_contracts.text import printable


class _Description(ProgressColumn):
    """The name of a task as it is, without markup; control characters are shown escaped."""

    def render(self, task: Task) -> Text:
        return Text(printable(task.description))


def progress_bar(console: Console | None = None) -> Progress:
    """Lines of what is done, each with a bar, on stderr; they are gone when the block ends."""
    return Progress(_Description(), BarColumn(), console=console or Console(stderr=True), transient=True)
