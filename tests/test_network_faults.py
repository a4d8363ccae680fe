"""A network that fails, between two network namespaces; memory and disks that run out."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tvm

from edgetvm.access import ServerIdentity
from edgetvm.errors import DeviceError
from edgetvm.paths import DataFolders
from edgetvm.stages.device.loopback import loopback_server
from edgetvm.stages.device.session import Address, DeviceSession, describe_device
from edgetvm.tune import tune
from tests.conftest import TINY, TINY_SHAPE, Invoke

pytestmark = pytest.mark.slow

NAMESPACE = f"edgetvm-{os.getpid()}"
LINK = f"etvm{os.getpid() % 100000}"
HERE, THERE = "10.213.77.1", "10.213.77.2"
GIVEN_UP_S = 30.0
"""The kernel gives up a silent peer after 15 s."""


def ip(*arguments: str) -> int:
    return subprocess.run(["ip", *arguments], check=False, capture_output=True).returncode


def has_namespaces() -> bool:
    if shutil.which("ip") is None or os.geteuid() != 0:
        return False
    works = ip("netns", "add", f"{NAMESPACE}-probe") == 0
    ip("netns", "del", f"{NAMESPACE}-probe")
    return works


needs_namespaces = pytest.mark.skipif(
    not has_namespaces(), reason="network namespaces need root and Debian's iproute2"
)


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """A server in a network namespace of its own, with a token, as a board has."""
    config = tmp_path_factory.mktemp("config")
    there = ("netns", "exec", NAMESPACE, "ip")
    for command in (
        ("netns", "add", NAMESPACE),
        ("link", "add", LINK, "type", "veth", "peer", "name", "eth0", "netns", NAMESPACE),
        ("addr", "add", f"{HERE}/30", "dev", LINK),
        ("link", "set", LINK, "up"),
        (*there, "addr", "add", f"{THERE}/30", "dev", "eth0"),
        (*there, "link", "set", "eth0", "up"),
        (*there, "link", "set", "lo", "up"),
    ):
        assert ip(*command) == 0, command
    serve = [sys.executable, "-m", "edgetvm.serve", "--host", THERE, "--port", "0"]
    with subprocess.Popen(
        ["ip", "netns", "exec", NAMESPACE, *serve, "--until-stdin-closes"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"XDG_CONFIG_HOME": str(config)},
    ) as server:
        assert server.stdin
        assert server.stdout
        port = int(server.stdout.readline().rpartition(":")[2])
        token = ServerIdentity.of_this_machine(config / "edgetvm").token
        try:
            yield Address(THERE, port, token)
        finally:
            server.stdin.close()
            ip("netns", "del", NAMESPACE)


@contextmanager
def link_down() -> Iterator[None]:
    assert ip("link", "set", LINK, "down") == 0
    try:
        yield
    finally:
        assert ip("link", "set", LINK, "up") == 0


@needs_namespaces
def test_a_network_that_is_away_for_five_seconds_costs_nothing(remote: Address) -> None:
    session = DeviceSession(remote, 1, timeout_s=60)
    with link_down():
        answers: list[int] = []
        threads = session.remote.get_function
        asking = threading.Thread(target=lambda: answers.append(threads("runtime.NumThreads")()))
        asking.start()
        time.sleep(5)
        assert not answers
    asking.join(20)
    assert answers == [1]


@needs_namespaces
def test_a_network_that_is_away_for_good_ends_the_session(remote: Address) -> None:
    session = DeviceSession(remote, 1, timeout_s=600)
    with link_down():
        started_s = time.monotonic()
        with pytest.raises(tvm.TVMError):
            session.remote.get_function("runtime.NumThreads")()
        assert time.monotonic() - started_s < GIVEN_UP_S
        with pytest.raises(DeviceError, match=r"cannot be reached|does not answer"):
            describe_device(remote)
    # The server has given up the old session, too, long before its time limit.
    assert describe_device(remote).cores


def test_memory_that_runs_out_on_the_device_is_an_error_of_that_session(device: Address) -> None:
    session = DeviceSession(device, 1, timeout_s=20)
    with pytest.raises(tvm.TVMError):
        tvm.nd.empty((1 << 50,), "float32", session.cpu)
    assert session.remote.get_function("runtime.NumThreads")() == 1


SmallDisk = Callable[..., None]


@pytest.fixture
def small_disk() -> Iterator[SmallDisk]:
    """Mount a small disk at a folder until the test ends."""
    if os.geteuid() != 0:
        pytest.skip("a small disk needs root")
    folders = []

    def mount(folder: Path, size_kib: int) -> None:
        folder.mkdir(exist_ok=True)
        options = ["-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(folder)]
        subprocess.run(["mount", *options], check=True)
        folders.append(folder)

    yield mount
    for folder in folders:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


@pytest.mark.parametrize(
    ("folder", "exit_code", "message"),
    [("bundles", 1, "No space is left where"), ("tuning_logs", 6, "No space left on device")],
)
def test_a_full_disk_here_is_said(
    folder: str,
    exit_code: int,
    message: str,
    project: DataFolders,
    small_disk: SmallDisk,
    invoke: Invoke,
) -> None:
    small_disk(getattr(project, folder), size_kib=4)
    arguments = ("--target", "host", "--input-shape", TINY_SHAPE, "--trials", "8")
    outcome = invoke(tune, TINY, *arguments, "--threads", "1")
    assert outcome.exit_code == exit_code
    assert message in outcome.error


def test_a_full_disk_on_the_device_is_said(small_disk: SmallDisk, tmp_path: Path) -> None:
    library = tmp_path / "too_large.so"
    library.write_bytes(bytes(1 << 21))
    # Not below pytest's folder: the path of a Unix socket has 108 characters at most.
    disk = Path(tempfile.mkdtemp(prefix="disk-"))
    small_disk(disk, size_kib=1024)
    with loopback_server(environment=os.environ | {"TMPDIR": str(disk)}) as address:
        session = DeviceSession(address, 1, timeout_s=20)
        with pytest.raises(DeviceError, match=r"write too_large\.so \(No space left on device\)"):
            session.load_library(library)
        assert session.remote.get_function("runtime.NumThreads")() == 1
