"""All commands as one program: their names, help, examples, JSON, and what a shell completes."""

import io
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import click
import pytest

from edgetvm.__main__ import COMMANDS, program
from edgetvm.cli import ModelName, TargetName
from edgetvm.paths import DataFolders
from edgetvm.recipe import list_recipes
from edgetvm.records import RecordStore
from edgetvm.target_profile import list_target_profiles
from tests.conftest import ROOT, TINY, TINY_SHAPE, Invoke
from tests.planted_records import TARGET, line

ESCAPE = "\x1b"
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|9[0-7])(?:;\d+)*m")

WITHOUT_RESULT = ("serve", "records compact", "records merge", "records drop")
"""They serve, or change files and say so in a line."""

QUICK = {
    "models": ("squeezenet_1.1",),
    "models --names": (),
    "targets": (),
    "targets rk3399": (),
    "targets host": (),
    "tune --list": (),
    "records list": (),
    "records list --target board": (),
    "records best": ("--target", "board"),
    "compress squeezenet_1.1": ("--output", "small.dcz"),
    "doctor": (),
}
"""What prints a result within seconds; with what it is asked."""


def leaves() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(program)
    for name in COMMANDS:
        command = program.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from ((f"{name} {one}", inner) for one, inner in command.commands.items())
        else:
            yield name, command


def run(*arguments: str, cwd: Path, module: str = "edgetvm") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", module, *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def on_a_terminal(*arguments: str, cwd: Path, **environment: str) -> str:
    """Return what the program shows where its standard output is a terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "edgetvm", *arguments]
    full = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color"} | environment
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, cwd=cwd, env=full):
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 1 << 16):
                shown += part
        except OSError:  # how a terminal says that nobody writes to it any more
            os.close(ours)
    return shown.decode()


def test_every_module_that_is_a_command_is_in_the_table() -> None:
    package = ROOT / "edgetvm"
    runs = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in package.rglob("*.py")
        if re.search(r"^    run_command\(\w+\)$", path.read_text(), re.MULTILINE)
    }
    assert runs == set(COMMANDS.values())


def test_a_command_bears_the_name_of_its_module() -> None:
    for name, module in COMMANDS.items():
        assert module.removesuffix(".__main__") == f"edgetvm.{name}"
        command = program.get_command(click.Context(program), name)
        assert command is not None
        assert command.name == name


def test_the_help_lists_all_and_loads_neither_torch_nor_tvm(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from edgetvm.__main__ import program\n"
        "program.main(['--help'], 'edgetvm', standalone_mode=False)\n"
        "assert not {'torch', 'tvm'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    listed = done.stdout.partition("Commands:\n")[2]
    assert re.findall(r"^  (\w+)  +\w", listed, re.MULTILINE) == list(COMMANDS)


def test_a_command_loads_no_other_command() -> None:
    code = (
        "import sys\n"
        "from edgetvm.__main__ import program\n"
        "program.main(['targets', '--help'], 'edgetvm', standalone_mode=False)\n"
        "assert not {'edgetvm.tune', 'edgetvm.deploy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_two_examples_that_are_valid(name: str, invoke: Invoke) -> None:
    shown = invoke(program, name, "--help").stdout
    examples = re.findall(rf"^ +python -m edgetvm\.{name}\b(.*)$", shown, re.MULTILINE)
    assert len(examples) >= 2
    for example in examples:
        command = program.get_command(click.Context(program), name)
        arguments = example.split()
        if isinstance(command, click.Group):
            command = command.commands[arguments.pop(0)]
        assert command is not None
        command.make_context(name, arguments)


@pytest.mark.parametrize(("name", "command"), list(leaves()))
def test_what_prints_a_result_prints_it_as_json_too(name: str, command: click.Command) -> None:
    options = {option for parameter in command.params for option in parameter.opts}
    formats = [one.type.choices for one in command.params if isinstance(one.type, click.Choice)]
    has_json = "--json" in options or any("json" in choices for choices in formats)
    assert has_json != (name in WITHOUT_RESULT)


@pytest.fixture
def with_records(project: DataFolders) -> Path:
    store = RecordStore(project.tuning_logs / "board", threads=2)
    store.open(TARGET, "0.19.0")
    store.append(line(0, 0.1))
    return project.recipes.parent


@pytest.mark.parametrize(("command", "arguments"), QUICK.items())
@pytest.mark.slow
def test_json_is_all_that_is_on_standard_output(
    command: str, arguments: tuple[str, ...], with_records: Path
) -> None:
    asked = [*command.split(), *arguments]
    done = run(*asked, "--json", cwd=with_records)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    assert ESCAPE not in done.stdout + done.stderr
    plain = run(*asked, cwd=with_records)
    assert plain.returncode == 0, plain.stderr
    assert plain.stdout.strip()
    assert ESCAPE not in plain.stdout + plain.stderr


@pytest.mark.slow
def test_a_bundle_is_made_and_timed_in_json(project: DataFolders, invoke: Invoke) -> None:
    options = ("--input-shape", TINY_SHAPE, "--target", "host", "--threads", "1", "--trials", "0")
    made = invoke(program, "tune", TINY, *options, "--json")
    assert made.exit_code == 0, made.stderr
    answer = json.loads(made.stdout)
    assert Path(answer["bundle"]).is_dir()
    assert answer["manifest"]["model"] == "build"
    assert "tasks are tuned" in made.stderr
    (run,) = json.loads(invoke(program, "deploy", "--repeat", "2", "--json").stdout)
    assert run["bundle_id"]
    assert len(run["tuned"]["samples_s"]) == 2
    profile = json.loads(invoke(program, "profile", "build", "--json").stdout)
    assert profile["layers"]


def test_a_board_gives_its_address_as_json(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    boards = "edgetvm.stages.device.emulated_board"
    monkeypatch.setattr(f"{boards}.prepare", lambda *_: None)
    monkeypatch.setattr(f"{boards}.emulated_server", lambda _: nullcontext("127.0.0.1:9090"))
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    outcome = invoke(program, "board", "emulate", "--json")
    assert json.loads(outcome.stdout) == {"address": "127.0.0.1:9090", "arch": "aarch64"}
    assert invoke(program, "board", "emulate").stdout == "listening on 127.0.0.1:9090\n"


def test_an_error_leaves_standard_output_empty(project: DataFolders, invoke: Invoke) -> None:
    for asked in (("targets", "nosuch"), ("models", "nosuch"), ("records", "best")):
        outcome = invoke(program, *asked, "--json")
        assert (outcome.exit_code, outcome.stdout) == (2, "")
        assert outcome.error


@pytest.mark.parametrize(
    ("module", "arguments", "called"),
    [
        ("edgetvm", ("tune",), "python -m edgetvm tune"),
        ("edgetvm", ("records", "best", "--thr"), "python -m edgetvm records best"),
        ("edgetvm", ("nosuch",), "python -m edgetvm"),
        ("edgetvm", (), "python -m edgetvm"),
        ("edgetvm.tune", (), "python -m edgetvm.tune"),
        ("edgetvm.records", ("list", "more"), "python -m edgetvm.records list"),
    ],
)
def test_messages_name_the_command_as_it_was_called(
    module: str, arguments: tuple[str, ...], called: str, tmp_path: Path
) -> None:
    done = run(*arguments, module=module, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.endswith(f"See {called} --help.\n")


def test_the_installed_program_is_called_edgetvm(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from edgetvm.__main__ import main

    monkeypatch.setattr(sys, "argv", ["edgetvm", "deploy", "--help"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert capfd.readouterr().out.startswith("Usage: edgetvm deploy [OPTIONS]")


@pytest.mark.slow
def test_colours_are_for_terminals_and_for_those_who_want_them(project: DataFolders) -> None:
    asked, folder = ("doctor", "--rpc", "127.0.0.1:1"), project.recipes.parent
    assert COLOUR.search(on_a_terminal(*asked, cwd=folder))
    assert not COLOUR.search(on_a_terminal(*asked, cwd=folder, NO_COLOR="1"))
    assert ESCAPE not in on_a_terminal("targets", "--json", cwd=folder)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_get_their_completion(shell: str, tmp_path: Path) -> None:
    code = "from edgetvm.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"_EDGETVM_COMPLETE": f"{shell}_source"},
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert "edgetvm" in done.stdout
    assert "_EDGETVM_COMPLETE" in done.stdout


def completed(words: str) -> list[str]:
    typed = words.split(" ")
    done = subprocess.run(
        [sys.executable, "-c", "from edgetvm.__main__ import main; main()"],
        env=os.environ
        | {
            "_EDGETVM_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(typed) - 1),
        },
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    return done.stdout.split()


def test_names_of_the_data_folders_are_completed(project: DataFolders) -> None:
    assert completed("edgetvm rec") == ["plain,records"]
    models = [name for name in list_recipes(project.recipes) if name.startswith("espnetv2_")]
    assert completed("edgetvm tune espnetv2_") == [f"plain,{name}" for name in models]
    targets = [name for name in list_target_profiles(project.profiles) if name.startswith("rasp")]
    assert completed("edgetvm deploy --target rasp") == [f"plain,{name}" for name in targets]
    assert completed("edgetvm tune --target hos") == ["plain,host"]
    assert completed("edgetvm tune models/mine.onnx") == ["file,models/mine.onnx"]


def test_every_model_and_target_is_completed() -> None:
    for name, command in leaves():
        for parameter in command.params:
            if parameter.name == "target":
                assert isinstance(parameter.type, TargetName), name
            if parameter.name in ("model", "models") and name != "records drop":
                assert isinstance(parameter.type, ModelName), name
