"""A pipeline run on a file, subjects and actions with hostile names: figures, pages, card, tables and artifacts."""

import csv
import json
import pickle
import shutil
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import mlflow
import pytest
from markdown_it import MarkdownIt
from prefect.artifacts import Artifact

from data_contracts.clips import QUARANTINE_FILE
from data_contracts.parameters.presets import load_preset
from data_contracts.text import csv_text, printable
from flows.prefect_ui.artifacts import pipeline_summary
from tasks.synthetic.motion import generate
from tasks.tracking.runs import connect
from tasks.viewer.evaluation_viewer import VIEWER_FILE
from tests.flows.conftest import TINY
from tests.flows.typed import pipeline
from tests.hostile_names import NAMES

FILE = "`$x^{2$ `<script>|*\x1b[31m.pkl"
HEADINGS = ["How to load", "Limits", "Scores", "Robustness", "Data", "Recipe", "Provenance"]
MARKUP = {"html_inline", "html_block", "link_open", "image"}


@pytest.fixture(scope="module")
def pipeline_run(tmp_path_factory, mlflow_database):
    """Return the outcome of a pipeline run, and its store."""
    folder = tmp_path_factory.mktemp("hostile")
    clips, rows = generate(seed=7, people=len(NAMES), seconds=1.2)
    subjects = list(dict.fromkeys(row["subject"] for row in rows))
    for place, row in enumerate(rows):
        name = NAMES[subjects.index(row["subject"])]
        row |= {"fname": name, "subject": name, "action": NAMES[place % len(NAMES)]}
        if place % (len(rows) // len(NAMES)) == 0:  # one clip of each subject does not move
            clips[place][:] = 0
    (folder / FILE).write_bytes(pickle.dumps(clips, protocol=4))
    with (folder / "list.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    settings = load_preset("demo", [*TINY, "ingest.max_quarantined=0.5", "ingest.licence='<b>|`mine`'"])
    source, clip_list, store = str(folder / FILE), str(folder / "list.csv"), folder / "store"
    store.mkdir()
    shutil.copy(mlflow_database, store)
    return pipeline(settings, source=source, clip_list=clip_list, store=str(store), promote="gate"), store


def tokens(markdown: str) -> list[str]:
    """Return the types of all tokens of a markdown text."""
    found = []
    for block in MarkdownIt("commonmark").enable("table").parse(markdown):
        found += [block.type, *(child.type for child in block.children or ())]
    return found


def rendered(markdown: str) -> str:
    """Return the visible text of a markdown text."""
    blocks = MarkdownIt("commonmark").enable("table").parse(markdown)
    return "\n".join("".join(child.content for child in block.children or ()) for block in blocks)


class Page(HTMLParser):
    """Tags of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)


def text_of(run_id: str, file: str) -> str:
    return mlflow.artifacts.load_text(f"runs:/{run_id}/{file}")


def test_the_model_card_has_all_sections(pipeline_run):
    outcome, store = pipeline_run
    client = connect(store)
    card = text_of(outcome["mlflow_run"], "card.md")
    blocks = MarkdownIt("commonmark").enable("table").parse(card)
    headings = [then.content for block, then in pairwise(blocks) if block.type == "heading_open" and block.tag == "h2"]
    assert headings == HEADINGS
    assert not MARKUP & set(tokens(card))
    assert f"Motion of {printable(FILE.removesuffix('.pkl'))}" in rendered(card).replace(".pkl", "")
    assert "Licence of the data: <b>|`mine`." in rendered(card)
    described = client.get_model_version("pose-uplift", str(outcome["model"]["version"])).description
    assert "\n## Limits\n" in described


def test_figures_are_drawn(pipeline_run):
    outcome, store = pipeline_run
    client = connect(store)
    for stage, pictures in {"evaluate": {"errors.png", "lifted.png"}, "convert": {"windows.png"}}.items():
        run_id = client.get_run(outcome["mlflow_run"]).data.tags[f"uplift.{stage}.run"]
        assert pictures <= {file.path for file in client.list_artifacts(run_id)}


def test_the_viewer_has_no_tag_of_the_names(pipeline_run):
    outcome, store = pipeline_run
    playing = text_of(connect(store).get_run(outcome["mlflow_run"]).data.tags["uplift.evaluate.run"], VIEWER_FILE)
    assert Page(playing).tags.count("script") == 2
    assert not any(char != "\n" and not char.isprintable() for char in playing)


def test_the_quarantine_table_is_read_by_a_csv_reader(pipeline_run):
    outcome, _ = pipeline_run
    with (Path(outcome["stages"]["ingest"]["folder"]) / QUARANTINE_FILE).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["name"] for row in rows} == {csv_text(name) for name in NAMES}
    assert {row["file"] for row in rows} == {csv_text(FILE)}
    assert not any(value[:1] in ("=", "+", "@") for row in rows for value in row.values())


def test_artifacts_have_no_markup_of_names(pipeline_run):
    for key in ("pipeline-summary", "promotion"):
        assert not {"html_inline", "html_block", "image"} & set(tokens(str(Artifact.get(key).data)))
    assert "link_open" not in tokens(str(Artifact.get("promotion").data))
    groups = json.loads(str(Artifact.get("convert-groups").data))
    assert {printable(name) for name in NAMES} <= {row["group"] for row in groups}


def test_a_failed_run_says_why_without_markup(pipeline_run):
    name = "".join(NAMES[:8])
    with pytest.raises(ValueError, match="alert"), pipeline_summary({}):
        raise ValueError(name)
    described = str(Artifact.get("pipeline-summary").description)
    assert not (MARKUP | {"code_inline", "fence"}) & set(tokens(described))
    assert rendered(described).strip() == f"failed: ValueError: {' '.join(name.split())}".replace("\x1b", "\\x1b")
