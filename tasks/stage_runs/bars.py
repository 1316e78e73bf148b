"""The bar that a person watches."""

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn


def progress_bar(console: Console | None = None) -> Progress:
    """Lines of what is done, each with a bar, on stderr; they are gone when the block ends.

    What is said is shown as it is: a path may hold what rich takes for markup.
    """
    columns = TextColumn("{task.description}", markup=False), BarColumn()
    return Progress(*columns, console=console or Console(stderr=True), transient=True)
