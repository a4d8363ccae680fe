"""Fixtures: a project folder of one's own, commands run in this process, a loopback device."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

# PyTorch's threads and TVM's spin while they wait; on two cores they keep each other from work.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import edgetvm.stages  # noqa: F401 - sets the environment before a test imports TVM
from edgetvm.cli import run_command
from edgetvm.paths import DataFolders

if TYPE_CHECKING:
    from edgetvm.stages.build.network_build import NetworkBuild

ROOT = Path(__file__).parent.parent
TINY = "tests.tiny_network:build"
TINY_SHAPE = "1,3,32,32"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataFolders:
    """An empty project with the real recipes and profiles, made the current one."""
    for name in ("compile", "targets"):
        shutil.copytree(ROOT / name, tmp_path / name)
    monkeypatch.setenv("EDGETVM_ROOT", str(tmp_path))
    monkeypatch.syspath_prepend(str(ROOT))
    return DataFolders.below(tmp_path, tmp_path)


@dataclass(frozen=True)
class Outcome:
    """What a command did: its exit code and both outputs."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """The one line that starts with ``error:``, without it; fails if there is not just one."""
        lines = [line for line in self.stderr.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.stderr
        assert "Traceback" not in self.stderr
        return lines[0].removeprefix("error: ")


Invoke = Callable[..., Outcome]


@pytest.fixture
def invoke(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run a click command in this process as ``python -m`` would."""

    def run(command: click.Command, *arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", [str(command.name), *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            run_command(command)
        captured = capfd.readouterr()
        return Outcome(int(ended.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def build() -> Iterator["NetworkBuild"]:
    """The tiny network, exported for this machine; tests leave it as they find it."""
    from edgetvm.models.resolve import resolve_network
    from edgetvm.stages.build.network_build import NetworkBuild
    from edgetvm.stages.host_target import detect_host_profile

    network = resolve_network(TINY, ROOT / "compile", (1, 3, 32, 32))
    with NetworkBuild(network, detect_host_profile(), threads=1) as build:
        yield build


@pytest.fixture(scope="session")
def device() -> Iterator[object]:
    """The address of a server for this machine, shared by the tests that leave it whole."""
    from edgetvm.stages.device.loopback import loopback_server

    with loopback_server() as address:
        yield address


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A server on this machine that asks for its token, as if it were in the network."""
    from edgetvm.access import ServerIdentity
    from edgetvm.stages.device.session import Address

    config = tmp_path_factory.mktemp("config")
    code = (
        "import sys; from pathlib import Path;"
        "from edgetvm.access import ServerIdentity;"
        "from edgetvm.stages.device.server import DeviceServer;"
        f"identity = ServerIdentity.of_this_machine(Path({str(config)!r}));"
        "server = DeviceServer('127.0.0.1', 0, identity);"
        "print(server.address[1], flush=True);"
        "import threading;"
        "threading.Thread(target=lambda: (sys.stdin.read(), server.close()), daemon=True).start();"
        "server.serve_forever()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        port = int(process.stdout.readline())
        token = ServerIdentity.of_this_machine(config).token
        yield Address("127.0.0.1", port, token)
        process.stdin.close()
        assert process.wait(10) == 0
