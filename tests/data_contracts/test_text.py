"""Tests of escaped text: independent readers of each format read it back."""

import csv
import io
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from data_contracts.errors import InputError, RefusedPickle
from data_contracts.text import csv_text, html_text, markdown_text, printable
from tests.hostile_names import NAMES

MARKDOWN = MarkdownIt("gfm-like", {"html": True, "linkify": False}).enable("table")
PLAIN = {"text", "text_special", "softbreak"}


def inline(text: str) -> list[Token]:
    """Return every inline token of a Markdown text."""
    return [token for block in MARKDOWN.parse(text) if block.type == "inline" for token in block.children or ()]


def visible(text: str) -> str:
    return printable(text).strip()


@pytest.mark.parametrize("name", NAMES)
def test_printable_text_has_no_control_character(name):
    assert printable(name).isprintable()
    assert printable(printable(name)) == printable(name)


def test_control_characters_are_escaped_and_other_scripts_stay():
    assert printable("a\x1b[31m\u202e\n\udce9\x9b") == r"a\x1b[31m\u202e\n\udce9\x9b"
    assert printable("a\nb\x07", keep="\n") == "a\nb\\x07"
    for text in ("Zo\u00eb \u4eba", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\U0001f468\u200d\U0001f469"):
        assert printable(text) == text


@pytest.mark.parametrize("name", NAMES)
def test_markdown_renders_the_name_and_nothing_else(name):
    for document in (markdown_text(name), f"- {markdown_text(name)}", f"# {markdown_text(name)}"):
        tokens = inline(document)
        assert {token.type for token in tokens} <= PLAIN
        assert "".join(token.content for token in tokens) == visible(name)
    blocks = [block.type for block in MARKDOWN.parse(markdown_text(name))]
    assert blocks == ["paragraph_open", "inline", "paragraph_close"]
    assert "://" not in markdown_text(name)  # renderers link a bare URL


@pytest.mark.parametrize("name", NAMES)
def test_a_cell_of_a_markdown_table_ends_where_the_name_ends(name):
    cell = markdown_text(name)
    blocks = MARKDOWN.parse(f"| name | n |\n|---|--:|\n| {cell} | {cell} |\n| after | 2 |")
    cells = [block.content for block in blocks if block.type == "inline"]
    assert len(cells) == 6
    for token in (block for block in blocks if block.type == "inline"):
        assert {child.type for child in token.children or ()} <= PLAIN
    rendered = ["".join(child.content for child in block.children) for block in blocks if block.type == "inline"]
    assert rendered == ["name", "n", visible(name), visible(name), "after", "2"]


@pytest.mark.parametrize("name", NAMES)
def test_html_contains_the_name_but_no_tag_from_it(name):
    tags, texts = [], []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append((tag, dict(attrs)))

        def handle_data(self, data):
            texts.append(data)

    reader = Reader()
    reader.feed(f'<p title="{html_text(name)}">{html_text(name)}</p>')
    reader.close()
    assert tags == [("p", {"title": printable(name)})]
    assert "".join(texts) == printable(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_spreadsheet_does_not_evaluate_a_cell(name):
    file = io.StringIO()
    csv.writer(file).writerow([csv_text(name), "after"])
    ((cell, after),) = csv.reader(io.StringIO(file.getvalue()))
    assert (cell.removeprefix("'"), after) == (printable(name).removeprefix("'"), "after")
    assert cell[0] not in "=+-@\uff1d\uff0b\uff0d\uff20\t\r"
    assert len(file.getvalue().splitlines()) == 1


@pytest.mark.parametrize("kind", [InputError, RefusedPickle])
def test_an_error_escapes_control_characters_and_has_one_line(kind):
    assert str(kind("a\x1b]0;title\x07\nb: is no file")) == r"a\x1b]0;title\x07\nb: is no file"
