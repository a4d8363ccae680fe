"""The documents: every command in them exists as written, and every link leads somewhere."""

import re
import shlex
from pathlib import Path

import click
import pytest

from edgetvm.__main__ import COMMANDS, program
from edgetvm.recipe import load_recipes

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not {".venv", ".venv-peers", "build", "node_modules"} & set(path.relative_to(ROOT).parts)
)
COMMAND_LINES = sorted(
    {
        match.group(0)
        for path in [*DOCUMENTS, ROOT / "Makefile"]
        for match in re.finditer(
            r"(?<=python -m edgetvm\.)[^`\n]*|(?<=`edgetvm )[^`\n]*", path.read_text()
        )
        if "MODEL" not in match.group(0)
    }
)


def parse_command_line(line: str) -> None:
    """Parse names, options and values of one of edgetvm's commands without running anything."""
    name, *arguments = shlex.split(line, comments=True)
    command = program.get_command(click.Context(program), name)
    assert command is not None, name
    if isinstance(command, click.Group) and arguments and arguments[0] in command.commands:
        command = command.commands[arguments.pop(0)]
    click.Command.make_context(command, name, list(arguments))


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_command_line_is_valid(line: str) -> None:
    parse_command_line(line)


@pytest.mark.parametrize("name", COMMANDS)
def test_command_is_in_the_readme(name: str) -> None:
    assert f"python -m edgetvm.{name}" in (ROOT / "README.md").read_text()


def test_make_targets_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def test_the_zoo_has_every_model_and_each_was_right() -> None:
    table = (ROOT / "docs" / "zoo.md").read_text()
    rows = re.findall(r"(?m)^\| `(\w[\w.]*)` .*\| (\S+) \|$", table)
    assert [name for name, _ in rows] == list(load_recipes(ROOT / "compile"))
    assert max(float(error) for _, error in rows) < 1e-4


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
        assert (path.parent / link).exists(), link


def test_files_that_documents_name_exist() -> None:
    for path in DOCUMENTS:
        for name in re.findall(
            r"`((?:edgetvm|tests|benchmarks|docs)/[\w./]+\.\w+)`", path.read_text()
        ):
            assert (ROOT / name).exists(), f"{path.name}: {name}"
