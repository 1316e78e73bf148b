"""Escape text from users, one function per output format.

Names of subjects, actions, clips, files and videos come from untrusted files.
"""

import html
import re
import unicodedata

_JOINERS = "\u200c\u200d"  # invisible characters in the spelling of Persian, Hindi and emoji
_FORMULA = ("=", "+", "-", "@")  # a spreadsheet evaluates a cell that starts with one of these or its wide form
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
    r"""Return text with an escape sequence, e.g. `\x1b`, for each control character.

    Control characters include line breaks, terminal escapes, changes of the writing direction and lone surrogates.
    Characters in `keep` stay unchanged.
    """
    whole = str(text)
    if whole.isprintable():
        return whole
    unchanged = {*keep, *_JOINERS}
    escaped = (char if char.isprintable() or char in unchanged else ascii(char)[1:-1] for char in whole)
    return "".join(escaped)


def html_text(text: object) -> str:
    """Return text escaped for HTML, between tags or in a quoted attribute."""
    return html.escape(printable(text))


def markdown_text(text: object) -> str:
    """Return text escaped for one line or table cell of Markdown; its markup, links and HTML have no effect."""
    escaped = printable(text).strip().translate(_MARKDOWN)
    escaped = _LINK.sub(lambda match: f"{match[1]}&#{ord(match[2])};", escaped)
    return _LINE_START.sub(r"\1\\\2", escaped)


def csv_text(text: object) -> str:
    """Return text for a cell of a CSV file, with an apostrophe before text that a spreadsheet would evaluate.

    The CSV writer adds the quotes.
    """
    cell = printable(text)
    return f"'{cell}" if unicodedata.normalize("NFKC", cell[:1]) in _FORMULA else cell
