"""Find the commands of documentation pages and check each one with its own parser.

- The parsers are typer for `uplift`, click for `mlflow`, cyclopts for `prefect`, argparse for the benchmarks (from
  their `add_argument` calls, without an import), and the targets of the Makefile.
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

import typer
import yaml

from data_contracts.errors import InputError
from data_contracts.parameters.presets import load_preset, preset_names
from flows.cli import app

ROOT = Path(__file__).parent.parent
FOLDERS = ("flows", "tasks", "model", "data_contracts", "presets", "benchmarks", "tests", "docs")
BEGINS = re.compile(r"--\w|([A-Z_]+=\S* )*(\.venv/bin/|(uplift|make|prefect|mlflow|python|pytest) )")
PLACEHOLDER = "--set path.to.parameter=value"  # describes the argument of `--set`
FOREIGN_MODULES = ("build", "pip", "venv", "torch.distributed.run")


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
        if re.fullmatch(r"\w+/[\w-]+", word) and word not in deployments():
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
    of_uplift = [
        option
        for command in subcommands().values()
        for one in command.params
        for option in (*one.opts, *one.secondary_opts)
    ]
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
