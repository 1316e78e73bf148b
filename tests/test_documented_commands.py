"""Documented commands exist with the documented options; so do parameters, deployments, files and links."""

import re
from typing import Any

import pytest
import yaml

from data_contracts.parameters import PipelineParameters
from docs.parameter_reference import PAGE, reference
from tests.command_checks import (
    FOLDERS,
    ROOT,
    Fault,
    benchmarks,
    check,
    code_spans,
    commands,
    deployments,
    subcommands,
)

GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [*GUIDES, ROOT / "CHANGELOG.md"]  # the changelog names removed commands; its links must exist
FOREIGN_PAGES = {"docs/output.md"}  # of AlphaPose
DOCUMENTED = sorted({(page.name, one) for page in GUIDES for one in commands(page.read_text(encoding="utf-8"))})


@pytest.mark.parametrize(("page", "command"), DOCUMENTED, ids=[f"{page}: {one.text}" for page, one in DOCUMENTED])
def test_a_documented_command_exists_with_these_options(page, command):
    check(command)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("uplift ingset FILE", "ingset"),
        ("uplift ingest FILE --clip-lst CSV", "--clip-lst"),
        ("uplift finetune WINDOWS", "pretrained"),
        ("uplift ingest FILE --set ingest.unit=miles", "ingest.unit"),
        ("uplift pipeline --set train.devices=2", "train"),
        ("--set convert.windw=9", "windw"),
        ("--stores", "--stores"),
        (".venv/bin/mlflow server --portt 5000", "--portt"),
        ("prefect worker begin --pool cpu", "begin"),
        ("prefect worker start --pol cpu", "--pol"),
        ("prefect deployment run 'pipeline/weekly'", "pipeline/weekly"),
        ("make tests", "tests"),
        ("python -m benchmarks.kils", "no benchmarks/kils.py"),
        ("python -m benchmarks.kills --kill 2", "--kill"),
        ("python benchmarks/exprts.py", "no benchmarks/exprts.py"),
        ("python -m torch.distributed.run --nproc-per-node 2 -m model.jobs JOB.json", "no model/jobs.py"),
        ("python -m model.training.loop JOB.json", "not a command"),
        (".venv/bin/pytest tests/test_nothing.py", "test_nothing"),
    ],
)
def test_a_missing_command_option_or_parameter_is_found(line, fault):
    (command,) = commands(f"```\n{line}\n```\n")
    with pytest.raises(Fault, match=re.escape(fault)):
        check(command)


def test_the_page_of_commands_has_every_command():
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    lines = [" ".join(command.words) for command in commands(page)]
    for name, command in subcommands().items():
        documented = " ".join(line for line in lines if line.startswith(f"uplift {name} ")).split()
        known = {*documented, "--store", "--preset", "--set", "--json"}
        options = [{*one.opts, *one.secondary_opts} for one in command.params if one.opts[0][0] == "-"]
        assert [names for names in options if not names & known] == [], f"uplift {name}"
    for benchmark in benchmarks():
        name = benchmark.parent.name if benchmark.name == "__main__.py" else benchmark.stem
        assert any(re.search(rf"benchmarks[./]{name}\b", line) for line in lines), benchmark
    for target in re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE):
        assert f"make {target}" in lines
    assert set(deployments()) <= set(code_spans(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_exist(page):
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_the_anchors_of_a_page_exist(page):
    for link, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
        target = (page.parent / link if link else page).read_text(encoding="utf-8")
        headings = re.findall(r"^#+ (.+)$", target, re.MULTILINE)
        assert anchor in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings], anchor


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_the_parameters_deployments_and_files_of_a_page_exist(page):
    text = page.read_text(encoding="utf-8")
    flows = {name.partition("/")[0] for name in deployments()}
    for span in code_spans(text):
        first, _, rest = span.partition("." if "." in span.partition("/")[0] else "/")
        if first in PipelineParameters.model_fields and re.fullmatch(r"[a-z_]+\.[a-z_.0-9]+", span) and rest != "py":
            model: Any = PipelineParameters
            for name in span.split("."):
                assert name in model.model_fields, span
                model = model.model_fields[name].annotation
        if re.fullmatch(rf"({'|'.join(FOLDERS)})/[\w./-]*", span):
            assert (ROOT / span).exists(), span
        if first in flows and re.fullmatch(r"\w+/[\w-]+", span):
            assert span in deployments(), span


def test_the_names_in_the_architecture_page_exist():
    files = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")]
    words = set(re.findall(r"\w+", " ".join(file.read_text("utf-8") for file in files)))
    names = {span for span in code_spans((ROOT / "docs" / "architecture.md").read_text("utf-8")) if span.isidentifier()}
    assert names - words == set()


def test_source_code_refers_to_pages_that_exist():
    files = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*") if file.suffix in (".py", ".yaml")]
    pages = {(page, file) for file in files for page in re.findall(r"\bdocs/[\w-]+\.md", file.read_text("utf-8"))}
    assert [
        f"{file.relative_to(ROOT)}: {page}"
        for page, file in pages
        if not (ROOT / page).exists() and page not in FOREIGN_PAGES
    ] == []


def test_the_parameter_reference_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == reference(), "run python -m docs.parameter_reference"


def test_pre_commit_runs_what_make_check_runs():
    recipe = re.search(r"^check: .*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    lines = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe.splitlines()]
    assert [hook["entry"] for hook in hooks] == lines
