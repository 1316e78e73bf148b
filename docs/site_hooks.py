"""Hooks of mkdocs: pages that are made from README, commands and the viewer, and links to files outside docs/."""

import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
_PAGES = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
_VIEWER = "viewer.html"
_FRAME = f'<iframe src="{_VIEWER}" title="Lifted motion in 3D" width="100%" height="560" style="border:0"></iframe>'


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from the code, and the files of the repository that pages link to."""
    pages = {page: _page(name) for page, name in _PAGES.items()}
    texts = [*pages.values(), *(file.content_string for file in files.documentation_pages())]
    linked = {link.removeprefix("../") for text in texts for link in _LINK.findall(text) if link.startswith("../")}
    sources = {f"source/{name}": (ROOT / name).read_text(encoding="utf-8") for name in linked}
    made = {**pages, **sources, "cli.md": _commands(), _VIEWER: _viewer()}
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point the links of a page that leave docs/ to the copies of these files in the site."""
    return markdown if page.file.src_uri.startswith("source/") else markdown.replace("](../", "](source/")


def _page(name: str) -> str:
    """Return a Markdown file of the root with links as of a page in docs/; the README also shows the viewer."""

    def link(found: re.Match[str]) -> str:
        target = found[1]
        page = next((page for page, file in _PAGES.items() if file == target), f"../{target}")
        return f"]({target.removeprefix('docs/') if target.startswith('docs/') else page}"

    text = _LINK.sub(link, (ROOT / name).read_text(encoding="utf-8"))
    return (
        re.sub(r"^!\[.*\n", rf"\g<0>\n{_FRAME}\n", text, count=1, flags=re.MULTILINE) if name == "README.md" else text
    )


def _commands() -> str:
    """Return the reference of the command line, which typer writes."""
    words = [sys.executable, "-m", "typer", "flows.cli", "utils", "docs", "--name", "uplift", "--title", "All options"]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def _viewer() -> str:
    """Return the viewer page of the bundled example, lifted now."""
    with TemporaryDirectory() as folder:
        lifting = ["lift", str(ROOT / "examples" / "walking.json"), "--fps", "30", "--model", "shipped", "--out", "out"]
        words = [sys.executable, "-m", "flows.cli", *lifting, "--store", "store"]
        environment = {"PYTHONPATH": str(ROOT)}
        subprocess.run(words, cwd=folder, env=environment, capture_output=True, check=True)
        return (Path(folder) / "out" / "playing.html").read_text(encoding="utf-8")
