"""Every command that the pages show exists, with these options; so do parameters, deployments, files and links.

A command's own parser is asked, so that what is removed or renamed there fails here: Typer's for `uplift`, click's for
`mlflow`, cyclopts' for `prefect`, argparse's for the benchmarks (its `add_argument` lines, without importing them), the
Makefile's targets. `--set` goes through the parameter models, deployments are looked up in prefect.yaml. Of any other
program in `.venv/bin` the paths that it is given must exist. In running text a command may leave out what it requires
(`uplift pretrain`); in a block it may not.
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
from data_contracts.presets import load_preset, preset_names
from flows.cli import app

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
FLOORS = ("flows", "tasks", "model", "data_contracts", "presets", "benchmarks", "tests", "docs")
BEGINS = re.compile(r"--\w|([A-Z_]+=\S* )*(\.venv/bin/|(uplift|make|prefect|mlflow|python|pytest) )")
PLACEHOLDER = "--set path.to.parameter=value"  # says what `--set` takes
MODULES_OF_OTHERS = ("pip", "venv", "torch.distributed.run")


class Fault(Exception):
    """A command is not there, or not with these options."""


class Command(NamedTuple):
    """Words of a command as a shell would split them; `is_whole`: from a block, ready to be typed."""

    text: str
    is_whole: bool

    @property
    def words(self) -> list[str]:
        shown = self.text.replace(PLACEHOLDER, "")
        bare = re.sub(r"(?<!\S)\[|\](?!\S)", "", shown)  # [--option VALUE] may be left out
        words = shlex.split(bare, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):  # VARIABLE=value command
            words.pop(0)
        return [words[0].removeprefix(".venv/bin/"), *words[1:]] if words else []


# ---- what the pages show


def commands(text: str) -> Iterator[Command]:
    """Commands of a page: lines of its blocks, and code in its text, that begin with a program of ours."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines() if language in ("", "bash", "sh") else ():
            for part in re.split(r" && |; ", line.strip().removesuffix("&")):
                yield from _command(part, is_whole=True)
    for span in code_spans(text):
        yield from _command(span, is_whole=False)


def code_spans(text: str) -> list[str]:
    """Inline code of a page, each on one line."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def _command(text: str, is_whole: bool) -> Iterator[Command]:
    if text.startswith("--set "):
        yield Command(f"uplift pipeline {text}", is_whole)
    elif BEGINS.match(text):
        yield Command(text, is_whole)


# ---- whether it is there


def check(command: Command) -> None:
    """Raises Fault, which says what is wrong."""
    program, *words = command.words
    if program.startswith("--"):  # in running text, of some command
        if program not in options():
            raise Fault(f"no command has {program}")
        return
    checks = {"uplift": _uplift, "make": _make, "prefect": _prefect, "mlflow": _mlflow, "python": _python}
    checks.get(program, _paths)(words, command.is_whole)


def _uplift(words: list[str], is_whole: bool) -> None:
    _click(typer.main.get_command(app), words, is_whole)
    given = list(pairwise(words))
    presets = [value for option, value in given if option == "--preset" and value in preset_names()]
    try:
        load_preset(*(presets or ["demo"]), [value for option, value in given if option == "--set"])
    except InputError as error:
        raise Fault(str(error)) from error


def _mlflow(words: list[str], is_whole: bool) -> None:
    from mlflow.cli import cli

    _click(cli, words, is_whole)


def _click(group: Any, words: list[str], is_whole: bool) -> None:
    """Parses without running; typer brings a click of its own, so that errors are told by their names."""
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
        case ["-m", module, *words] if module in MODULES_OF_OTHERS:
            if "-m" in words:  # what torch.distributed.run starts
                _python(words[words.index("-m") :], is_whole)
            return
        case ["-m", module, *words]:
            named = ROOT.joinpath(*module.split("."))
            script = named / "__main__.py" if named.is_dir() else named.with_suffix(".py")
        case [file, *words]:
            script = ROOT / file
    if not script.is_file():
        raise Fault(f"no {script.relative_to(ROOT)}")
    text = script.read_text(encoding="utf-8")
    if '__name__ == "__main__"' not in text:
        raise Fault(f"{script.name} is no command")
    if "argparse" in text:
        _arguments(script, is_whole).parse_args(words)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise Fault(message)


def _arguments(script: Path, is_whole: bool) -> _Parser:
    """The parser that a script's `add_argument` lines make; what they say in names, its types say, is left out."""
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
        if re.match(rf"({'|'.join(FLOORS)})/", word) and not (ROOT / word.partition("::")[0]).exists():
            raise Fault(f"no {word}")


@cache
def options() -> set[str]:
    """Options of `uplift` and of the benchmarks."""
    of_uplift = [option for command in subcommands().values() for one in command.params for option in one.opts]
    of_benchmarks = [option for file in benchmarks() for option in _arguments(file, False)._option_string_actions]
    return {*of_uplift, *of_benchmarks}


def subcommands() -> dict[str, Any]:
    """Of `uplift`, by name; those of a group by both names."""
    found = {}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        of_group = getattr(command, "commands", None)
        found |= {f"{name} {own}": one for own, one in of_group.items()} if of_group else {name: command}
    return found


def benchmarks() -> list[Path]:
    """Files of benchmarks that are commands."""
    found = [*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "benchmarks").glob("*/__main__.py")]
    return [file for file in sorted(found) if "argparse" in file.read_text()]


@cache
def deployments() -> list[str]:
    """`flow/deployment` of prefect.yaml; a flow is named like its function."""
    entries = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    return [f"{entry['entrypoint'].partition(':')[2]}/{entry['name']}" for entry in entries]


# ---- tests

SHOWN = sorted({(page.name, command) for page in PAGES for command in commands(page.read_text(encoding="utf-8"))})


@pytest.mark.parametrize(("page", "command"), SHOWN, ids=[f"{page}: {command.text}" for page, command in SHOWN])
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
        ("python benchmarks/convrt.py", "no benchmarks/convrt.py"),
        ("python -m torch.distributed.run --nproc-per-node 2 -m model.jobs JOB.json", "no model/jobs.py"),
        ("python -m model.training.loop JOB.json", "no command"),
        (".venv/bin/pytest tests/test_nothing.py", "test_nothing"),
    ],
)
def test_the_checker_finds_what_is_not_there(line, fault):
    (command,) = commands(f"```\n{line}\n```\n")
    with pytest.raises(Fault, match=re.escape(fault)):
        check(command)


def test_every_command_is_on_the_page_of_commands():
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    lines = [" ".join(command.words) for command in commands(page)]
    for name, command in subcommands().items():
        shown = (
            " ".join(line for line in lines if line.startswith(f"uplift {name} ")) + " --store --preset --set --json"
        )
        missing = {option for one in command.params for option in one.opts if option[0] == "-"} - set(shown.split())
        assert not missing, f"uplift {name}"
    for benchmark in benchmarks():
        name = benchmark.parent.name if benchmark.name == "__main__.py" else benchmark.stem
        assert any(re.search(rf"benchmarks[./]{name}\b", line) for line in lines), benchmark
    for target in re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE):
        assert f"make {target}" in lines
    assert set(deployments()) <= set(code_spans(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_parameters_deployments_files_and_links_of_a_page_exist(page):
    text = page.read_text(encoding="utf-8")
    flows = {name.partition("/")[0] for name in deployments()}
    for span in code_spans(text):
        first, _, rest = span.partition("." if "." in span.partition("/")[0] else "/")
        if first in PipelineParameters.model_fields and re.fullmatch(r"[a-z_]+\.[a-z_.0-9]+", span) and rest != "py":
            model: Any = PipelineParameters
            for name in span.split("."):
                assert name in model.model_fields, span
                model = model.model_fields[name].annotation
        if re.fullmatch(rf"({'|'.join(FLOORS)})/[\w./-]*", span):
            assert (ROOT / span).exists(), span
        if first in flows and re.fullmatch(r"\w+/\w+", span):
            assert span in deployments(), span
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / link).exists(), link


def test_pre_commit_runs_what_make_check_runs():
    recipe = re.search(r"^check: .*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    lines = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe.splitlines()]
    assert [hook["entry"] for hook in hooks] == lines
