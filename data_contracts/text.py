"""Text from users, escaped for where it is written: one function per format.

Names of subjects, actions, clips, files and videos come from files that anyone may have written.
"""

import html
import re
import unicodedata

_JOINERS = "\u200c\u200d"  # invisible, and part of the spelling of Persian, Hindi and emoji
_FORMULA = ("=", "+", "-", "@")  # a spreadsheet evaluates a cell that begins with one of these, or its wide form
_MARKDOWN = str.maketrans(
    {
        **{char: f"\\{char}" for char in "\\*_[]~#"},
        **{char: f"&#{ord(char)};" for char in "`|@"},
        **{"&": "&amp;", "<": "&lt;", ">": "&gt;"},
    }
)
_LINK = re.compile(r"(?i)(:/|www)([/.])")  # markdown renderers link a bare URL
_LINE_START = re.compile(r"^(\d*)([-+=.)])(?=\s|[-+=\s]*$)")  # lists, headings and rules


def printable(text: object, keep: str = "") -> str:
    r"""Return text with each control character as an escape sequence, e.g. `\x1b`.

    Control characters include line breaks, terminal escapes, changes of the writing direction and lone surrogates.

    Parameters
    ----------
    text
        Converted by `str`.
    keep
        Characters that stay as they are.
    """
    whole = str(text)
    if whole.isprintable():
        return whole
    kept = {*keep, *_JOINERS}
    return "".join(char if char.isprintable() or char in kept else _escape(char) for char in whole)


def html_text(text: object) -> str:
    """Return text for HTML, between tags or in a quoted attribute."""
    return html.escape(printable(text))


def markdown_text(text: object) -> str:
    """Return text for one line of markdown or one cell of a table: it has no markup, no link and no HTML."""
    escaped = printable(text).strip().translate(_MARKDOWN)
    escaped = _LINK.sub(lambda found: f"{found[1]}&#{ord(found[2])};", escaped)
    return _LINE_START.sub(r"\1\\\2", escaped)


def csv_text(text: object) -> str:
    """Return text for a cell of a CSV file; an apostrophe before the text keeps a spreadsheet from evaluating it.

    The CSV writer adds the quotes.
    """
    shown = printable(text)
    return f"'{shown}" if unicodedata.normalize("NFKC", shown[:1]) in _FORMULA else shown


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
