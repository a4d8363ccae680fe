"""README.md as its reader follows it: every command is run, section by section, in its order.

The commands are read from the file. `STAND_INS` says what a test's machine does not have, or has no
time for, and what takes its place; `Reader.RUNS` says how each kind of command is run.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import ClassVar

import click
import pytest
import torch
from safetensors.torch import save_file

from edgetvm.__main__ import program
from edgetvm.errors import RecordError
from edgetvm.models.resolve import resolve_network
from edgetvm.paths import DataFolders
from edgetvm.stages.device.emulated_board import board_environment, prepare
from tests.conftest import ROOT, Invoke
from tests.models.test_key_maps import our_network, our_state, public_source, read_listing
from tests.models.test_network import write_onnx
from tests.planted_bundle import plant_bundle
from tests.test_comparison import make_run
from tests.test_docs import parse_command_line
from tests.test_emulated_board import BOARD
from tests.test_emulated_board import MISSING as MISSING_FOR_BOARD
from tests.test_opencl import MISSING as MISSING_FOR_OPENCL

pytestmark = pytest.mark.slow

TIMM_LISTING = "timm_mobilenetv3_small_050"
STARTS_WITHIN_S = 60.0

SMALL = {
    "mobilenet_v1": "mobilenet_v1_0.25_128",
    "mobilenet_v2": "mobilenet_v2_0.35_96",
    "mobilenet_v3_large": public_source(TIMM_LISTING)[0],
    "squeezenet": "squeezenet_1.1",
}
"""What is built in the place of networks that take minutes."""

SAID = {
    "192.168.1.20": r"listening on (127\.0\.0\.2:\d+)",
    "TOKEN": r"--token (\S+)",
    "192.168.1.5": r"bind to (\S+)",
}
"""What servers say when they start that stands for what README says."""

STAND_INS = {
    # Small networks, few trials, few samples.
    r"\bmobilenet_v2 --target rasp4b": f"{SMALL['mobilenet_v1']} --target rasp4b",  # fewest tasks
    **{rf"\b{model}\b": small for model, small in SMALL.items()},
    r"edgetvm\.models$": "edgetvm.models squeezenet",
    r"--trials \d+|--budget \w+": "--trials 2",
    r"(edgetvm\.tune .*--(rpc|tracker).*)": r"\1 --trials 1",
    r"(edgetvm\.tune (?!.*--(trials|list)).+)": r"\1 --trials 0",
    r"(edgetvm\.deploy.*)": r"\1 --repeat 2",
    r"edgetvm\.tune$": "edgetvm.tune --help",  # named, not called
    # OpenCL on this machine's CPU for a Mali, the emulated board for a Raspberry Pi, on loopback.
    r"(--target mali_\w+) --rpc \S+": r"\1 --rpc opencl-cpu",
    r"(edgetvm\.serve.*)": r"\1 --port 0",
    r"0\.0\.0\.0": "127.0.0.2",  # a token is asked for, as in a network
    r"rpc_tracker$": "rpc_tracker --host 127.0.0.1",
    # The environment that runs the tests, and a wheel of this checkout.
    r"\.venv/": f"{sys.prefix}/",
    r"pip install": "pip install --quiet --no-deps --no-index --find-links wheels --target site",
    **({} if shutil.which("fish") else {r"\| source": "| grep 'complete .*edgetvm'"}),
}


MISSING = {
    r"serve --host 0\.0\.0\.0|board emulate|--rpc emulated|--target rasp4b$": MISSING_FOR_BOARD,
    r"--target mali_|edgetvm\.runtime": MISSING_FOR_OPENCL,
}
"""What commands need that is not installed here."""


def commands_in(text: str) -> Iterator[str]:
    """Return what stands in blocks of commands, and in lines and tables after ``python -m``."""
    pattern = r"(?ms)^```(\w*)\n(.*?)^```$|`(python -m [^`\n]+)`"
    for language, block, inline in re.findall(pattern, text):
        if inline:
            yield inline
        elif language in ("", "sh", "bash", "console"):
            yield from filter(None, (re.sub(r"(^|\s+)#.*", "", one) for one in block.splitlines()))


def commands_by_section() -> dict[str, list[str]]:
    _, *parts = re.split(r"(?m)^(?:\A#|##) (.+)$", (ROOT / "README.md").read_text())
    found = {
        title: list(commands_in(text)) for title, text in zip(parts[::2], parts[1::2], strict=True)
    }
    return {title: commands for title, commands in found.items() if commands}


def write_timm_checkpoint(path: Path) -> None:
    """Write a network's random weights under timm's keys."""
    model, weights_from = public_source(TIMM_LISTING)
    values = our_network(model, weights_from).state_dict()
    theirs = read_listing(TIMM_LISTING)
    pairs = zip(theirs.items(), our_state(weights_from, theirs), strict=True)
    torch.save({key: values[ours].reshape(tensor.shape) for (key, tensor), ours in pairs}, path)


def write_own_checkpoint(path: Path) -> None:
    module = resolve_network(SMALL["mobilenet_v2"], ROOT / "compile").module
    assert module is not None
    save_file(module.state_dict(), path)


OWN_FILES: dict[str, Callable[[Path], object]] = {
    "net.pth": write_timm_checkpoint,
    "checkpoint.safetensors": write_own_checkpoint,
    "path/to/model.onnx": write_onnx,
    "my_package/my_model.py": lambda path: path.write_text("from tests.tiny_network import build"),
}
"""What the reader brings along."""


class Reader:
    """Runs commands in the project's folder, and remembers the servers that were started.

    Attributes
    ----------
    known : what stands for the addresses and the token of README, as soon as there is one.
    """

    def __init__(self, project: DataFolders, invoke: Invoke, stack: ExitStack) -> None:
        self.project, self.invoke, self.stack = project, invoke, stack
        self.known: dict[str, str] = {}

    def follow(self, command: str) -> None:
        """Run one command of README, with its stand-ins."""
        run = next((run for kind, run in self.RUNS.items() if re.match(kind, command)), None)
        if run is None:
            pytest.fail(
                f"README.md has the command {command!r}, which no entry of Reader.RUNS in "
                f"{Path(__file__).name} knows how to run: add one."
            )
        for pattern, missing in MISSING.items():
            if missing and re.search(pattern, command):
                pytest.skip(f"{command} needs {', '.join(missing)}")
        for name, write in OWN_FILES.items():
            if re.search(name.removesuffix(".py").replace("/", "."), command):
                Path(name).parent.mkdir(parents=True, exist_ok=True)
                write(Path(name))
        for pattern, replacement in STAND_INS.items():
            command = re.sub(pattern, replacement, command)
        for name, value in self.known.items():
            command = command.replace(name, value)
        assert not re.search(r"192\.168|TOKEN", command), f"No server was started for: {command}"
        run(self, command)

    def call(self, command: str) -> None:
        """Run a command of edgetvm in this process."""
        name, *arguments = shlex.split(command.removeprefix("python -m edgetvm."))
        if name in ("compare", "report") and not self.project.bundles.exists():
            plant_bundle(self.project, make_run("mobilenet_v2", 0.0063))
        found = program.get_command(click.Context(program), name)
        assert found is not None, f"README.md has {command!r}, but edgetvm has no command {name}."
        outcome = self.invoke(found, *arguments)
        if outcome.exit_code == RecordError.exit_code and name == "tune":
            assert "were not tried within the budget" in outcome.error  # with so few trials
        else:
            assert outcome.exit_code == 0, f"{command}: {outcome.stderr}"

    def serve(self, command: str) -> None:
        """Start a server that lasts as long as the test, and remember what it says of itself."""
        python, environment = sys.executable, None
        if "--host 127.0.0.2" in command:
            prepare(BOARD, print)
            python = str(BOARD.python)
            environment = self.stack.enter_context(board_environment(BOARD))
        log = Path(f"server_{time.monotonic_ns()}.log")
        with log.open("w") as output:
            process = subprocess.Popen(
                [python, *shlex.split(command)[1:]], stdin=subprocess.PIPE, stdout=output,
                stderr=output, env=environment, start_new_session=True,
            )  # fmt: skip
        self.stack.callback(process.communicate)
        # TVM's tracker leaves its own process behind: end the group.
        self.stack.callback(os.killpg, process.pid, signal.SIGKILL)
        ready = "registered with" if "--tracker" in command else "(use it|bind to).*\n"
        until_s = time.monotonic() + STARTS_WITHIN_S
        while not re.search(ready, log.read_text()):
            assert time.monotonic() < until_s, f"{command}: {log.read_text()}"
            time.sleep(0.1)
        for name, pattern in SAID.items():
            if said := re.search(pattern, log.read_text()):
                self.known[name] = said[1]

    def shell(self, command: str, then: str = "true") -> None:
        """Run a line in the shell that it is for, then one that fails unless it had its effect."""
        shell = "fish" if re.search(r"fish.*\| source", command) else "bash"
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            [shell, "-c", f"{command} && {then}"],
            capture_output=True, text=True, check=False,
            env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stderr}"

    def install(self, command: str) -> None:
        """Install a wheel of this checkout as the package index would give it."""
        self.shell(f"python -m pip wheel --quiet --no-deps --wheel-dir wheels {ROOT}")
        self.shell(command)
        alone = "env --unset EDGETVM_ROOT PYTHONPATH=. bin/edgetvm"
        self.shell(f"cd site && {alone} --help && {alone} tune --list | grep squeezenet")

    def make(self, command: str) -> None:
        """Look what make would do: a test cannot run all tests, nor a demo of hours."""
        done = subprocess.run(
            [*shlex.split(command), "--dry-run"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert ".venv/bin/" in done.stdout
        for line in re.findall(r"bin/edgetvm ([^|>;\n]+)", done.stdout):
            parse_command_line(line.replace("$model", "squeezenet"))

    RUNS: ClassVar[dict[str, Callable[["Reader", str], None]]] = {
        r"make \w+": make,
        r"pip install edgetvm$": install,
        r"source \S+/activate$": partial(shell, then="command -v edgetvm && test $VIRTUAL_ENV"),
        r"eval .*_EDGETVM_COMPLETE": partial(shell, then="complete -p edgetvm"),
        r"_EDGETVM_COMPLETE=fish_source": shell,
        r"python -m (tvm\.exec\.rpc_tracker|edgetvm\.serve|edgetvm\.board)\b": serve,
        r"python -m edgetvm\.": call,
    }
    """How commands are run, by how they begin; the first that fits counts."""


@pytest.fixture
def reader(
    project: DataFolders, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Reader]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with ExitStack() as stack:
        yield Reader(project, invoke, stack)


@pytest.mark.parametrize("section", commands_by_section())
def test_the_commands_of_a_section_run(section: str, reader: Reader) -> None:
    for command in commands_by_section()[section]:
        reader.follow(command)


def test_a_command_that_nobody_knows_how_to_run_is_said(reader: Reader) -> None:
    with pytest.raises(pytest.fail.Exception, match=r"the command 'edgetvm fly', which no entry"):
        reader.follow("edgetvm fly")
