"""Documented commands exist with the documented options; so do parameters, deployments, files and links.

- Each command is parsed by its own parser: typer for `uplift`, click for `mlflow`, cyclopts for `prefect`, argparse for
  the benchmarks (from their `add_argument` calls, without an import), and the targets of the Makefile.
- Values of `--set` are validated by the parameter models, deployments are looked up in prefect.yaml.
- A command in running text may omit required arguments (`uplift pretrain`); a command in a block may not.
"""

import argparse
import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
import yaml

from data_contracts.errors import InputError
from data_contracts.parameters import PipelineParameters
from data_contracts.parameters.presets import load_preset, preset_names
from docs.parameter_reference import PAGE, reference
from flows.cli import app

ROOT = Path(__file__).parent.parent
GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [*GUIDES, ROOT / "CHANGELOG.md"]  # the changelog names removed commands; its links must exist
FOLDERS = ("flows", "tasks", "model", "data_contracts", "presets", "benchmarks", "tests", "docs")
BEGINS = re.compile(r"--\w|([A-Z_]+=\S* )*(\.venv/bin/|(uplift|make|prefect|mlflow|python|pytest) )")
PLACEHOLDER = "--set path.to.parameter=value"  # describes the argument of `--set`
FOREIGN_PAGES = {"docs/output.md"}  # of AlphaPose
FOREIGN_MODULES = ("pip", "venv", "torch.distributed.run")


class Fault(Exception):
    """A command does not exist, or not with these options."""


class Command(NamedTuple):
    """A command; `is_whole`: from a block, with all its arguments."""

    text: str
    is_whole: bool

    @property
    def words(self) -> list[str]:
        """The words of the command as a shell splits them."""
        text = self.text.replace(PLACEHOLDER, "")
        bare = re.sub(r"(?<!\S)\[|\](?!\S)", "", text)  # [--option VALUE] is optional
        words = shlex.split(bare, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):  # VARIABLE=value command
            words.pop(0)
        return [words[0].removeprefix(".venv/bin/"), *words[1:]] if words else []


# ---- commands of the pages


def commands(text: str) -> Iterator[Command]:
    """Yield the commands of a page: lines of its blocks, and inline code, that start with a known program."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines() if language in ("", "bash", "sh") else ():
            for part in re.split(r" && |; ", line.strip().removesuffix("&")):
                yield from _command(part, is_whole=True)
    for span in code_spans(text):
        yield from _command(span, is_whole=False)


def code_spans(text: str) -> list[str]:
    """Return the inline code of a page, each on one line."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def _command(text: str, is_whole: bool) -> Iterator[Command]:
    if text.startswith("--set "):
        yield Command(f"uplift pipeline {text}", is_whole)
    elif BEGINS.match(text):
        yield Command(text, is_whole)


# ---- checks


def check(command: Command) -> None:
    """Raise Fault if the command is wrong."""
    program, *words = command.words
    if program.startswith("--"):  # an option in running text
        if program not in options():
            raise Fault(f"no command has {program}")
        return
    checks = {"uplift": _uplift, "make": _make, "prefect": _prefect, "mlflow": _mlflow, "python": _python}
    checks.get(program, _paths)(words, command.is_whole)


def _uplift(words: list[str], is_whole: bool) -> None:
    _click(typer.main.get_command(app), words, is_whole)
    pairs = list(pairwise(words))
    presets = [value for option, value in pairs if option == "--preset" and value in preset_names()]
    try:
        load_preset(*(presets or ["demo"]), [value for option, value in pairs if option == "--set"])
    except InputError as error:
        raise Fault(str(error)) from error


def _mlflow(words: list[str], is_whole: bool) -> None:
    from mlflow.cli import cli

    _click(cli, words, is_whole)


def _click(group: Any, words: list[str], is_whole: bool) -> None:
    """Parse without running. Typer has its own click, so errors are distinguished by the names of their classes."""
    command, name = group, "program"
    while words and hasattr(command, "commands"):
        name, *words = words
        if name not in command.commands:
            raise Fault(f"no subcommand {name}")
        command = command.commands[name]
    try:
        command.make_context(name, [word for word in words if word != "--help"])
    except Exception as error:
        if is_whole or type(error).__name__ not in ("MissingParameter", "NoArgsIsHelpError"):
            raise Fault(f"{type(error).__name__}: {error}") from error


def _prefect(words: list[str], is_whole: bool) -> None:
    import cyclopts
    from prefect.cli._app import _app as prefect_app

    try:
        prefect_app.parse_args(
            [word for word in words if word != "--no-prompt"], exit_on_error=False, print_error=False
        )
    except cyclopts.CycloptsError as error:
        is_missing, is_placeholder = (
            isinstance(error, kind) for kind in (cyclopts.MissingArgumentError, cyclopts.CoercionError)
        )
        if not is_placeholder and (is_whole or not is_missing):
            raise Fault(str(error)) from error
    for word in words:
        if re.fullmatch(r"\w+/\w+", word) and word not in deployments():
            raise Fault(f"no deployment {word} in prefect.yaml")


def _make(words: list[str], is_whole: bool) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for word in words:
        name, equals, _ = word.partition("=")
        if not re.search(rf"^{re.escape(name)} ?{r'[?:]?=' if equals else ':'}", makefile, re.MULTILINE):
            raise Fault(f"the Makefile has no {name}")


def _python(words: list[str], is_whole: bool) -> None:
    match words:
        case ["-m", module, *words] if module in FOREIGN_MODULES:
            if "-m" in words:  # the module that torch.distributed.run starts
                _python(words[words.index("-m") :], is_whole)
            return
        case ["-m", module, *words]:
            path = ROOT.joinpath(*module.split("."))
            script = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
        case [file, *words]:
            script = ROOT / file
    if not script.is_file():
        raise Fault(f"no {script.relative_to(ROOT)}")
    text = script.read_text(encoding="utf-8")
    if '__name__ == "__main__"' not in text:
        raise Fault(f"{script.name} is not a command")
    if "argparse" in text:
        _arguments(script, is_whole).parse_args(words)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise Fault(message)


def _arguments(script: Path, is_whole: bool) -> _Parser:
    """Return the parser of a script's `add_argument` calls; arguments that are not literals are omitted."""
    parser = _Parser(allow_abbrev=False)
    for call in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument":
            names = [ast.literal_eval(name) for name in call.args]
            literal = [word for word in call.keywords if word.arg in ("action", "nargs", "choices")]
            keywords: dict[str, Any] = {
                str(word.arg): ast.literal_eval(word.value)
                for word in literal
                if isinstance(word.value, ast.Constant | ast.Tuple | ast.List)
            }
            if not names[0].startswith("-") and not is_whole:
                keywords["nargs"] = "?"
            parser.add_argument(*names, **keywords)
    return parser


def _paths(words: list[str], is_whole: bool) -> None:
    for word in words:
        if re.match(rf"({'|'.join(FOLDERS)})/", word) and not (ROOT / word.partition("::")[0]).exists():
            raise Fault(f"no {word}")


@cache
def options() -> set[str]:
    """Return the options of `uplift` and of the benchmarks."""
    of_uplift = [option for command in subcommands().values() for one in command.params for option in one.opts]
    of_benchmarks = [option for file in benchmarks() for option in _arguments(file, False)._option_string_actions]
    return {*of_uplift, *of_benchmarks}


def subcommands() -> dict[str, Any]:
    """Return the subcommands of `uplift` by name; those of a group by both names."""
    commands_by_name = {}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        of_group = getattr(command, "commands", None)
        commands_by_name |= {f"{name} {own}": one for own, one in of_group.items()} if of_group else {name: command}
    return commands_by_name


def benchmarks() -> list[Path]:
    """Return the files of benchmarks that are commands."""
    files = [*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "benchmarks").glob("*/__main__.py")]
    return [file for file in sorted(files) if "argparse" in file.read_text()]


@cache
def deployments() -> list[str]:
    """Return `flow/deployment` for each deployment of prefect.yaml; a flow has the name of its function."""
    entries = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    return [f"{entry['entrypoint'].partition(':')[2]}/{entry['name']}" for entry in entries]


# ---- tests

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
        options_of_all = {"--store", "--preset", "--set", "--json"}
        missing = {option for one in command.params for option in one.opts if option[0] == "-"}
        missing -= {*documented, *options_of_all}
        assert not missing, f"uplift {name}"
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
        if first in flows and re.fullmatch(r"\w+/\w+", span):
            assert span in deployments(), span


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
