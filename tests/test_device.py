"""The server and its clients over real sockets: right ones, wrong ones, and crashes."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import tvm
from tvm import rpc

from edgetvm.device_info import DeviceInfo
from edgetvm.errors import DeviceError, VersionError
from edgetvm.host_cpu import usable_cores
from edgetvm.stages.device import session as session_module
from edgetvm.stages.device.choice import device_at
from edgetvm.stages.device.connection import DEFAULT_PORT
from edgetvm.stages.device.fitting import check_device_fits
from edgetvm.stages.device.loopback import loopback_server
from edgetvm.stages.device.server import DeviceServer
from edgetvm.stages.device.session import (
    Address,
    DeviceSession,
    describe_device,
    reach,
)
from edgetvm.stages.device.timing import Contender, time_interleaved
from edgetvm.stages.host_target import detect_host_profile

pytestmark = pytest.mark.slow


@contextmanager
def listener(answer: bytes | None) -> Iterator[Address]:
    """A server that answers every connection with `answer`, or with nothing at all."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept = []

        def accept() -> None:
            with closing(server):
                while True:
                    try:
                        connection, _ = server.accept()
                    except OSError:
                        return
                    kept.append(connection)
                    if answer is not None:
                        connection.sendall(answer)

        threading.Thread(target=accept, daemon=True).start()
        yield Address("127.0.0.1", server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)
        for connection in kept:
            connection.close()


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.168.1.20", "192.168.1.20", DEFAULT_PORT),
        ("pi.local:9000", "pi.local", 9000),
        ("[::1]:9000", "::1", 9000),
        ("[::1]", "::1", DEFAULT_PORT),
    ],
)
def test_addresses_are_read(text: str, host: str, port: int) -> None:
    assert Address.parse(text) == Address(host, port)
    assert Address.parse(str(Address(host, port))) == Address(host, port)


@pytest.mark.parametrize("text", ["", ":9000", "pi:", "pi:http", "pi:0", "pi:70000"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(DeviceError, match="give HOST or HOST:PORT"):
        Address.parse(text)


def test_a_device_says_what_it_is(device: Address) -> None:
    assert describe_device(device) == DeviceInfo.here(tvm.__version__)


@pytest.mark.parametrize("threads", range(1, usable_cores() + 1))
def test_threads_are_set_and_read_back(device: Address, threads: int) -> None:
    assert DeviceSession(device, threads, timeout_s=10).threads == threads


def test_threads_run_on_cores_of_their_own(device: Address) -> None:
    session = DeviceSession(replace(device, cores="all"), usable_cores(), timeout_s=10)
    assert len(set(session.cpus.split(","))) == usable_cores()


def test_cores_of_an_unknown_kind_are_refused(device: Address) -> None:
    with pytest.raises(DeviceError, match=r"no cores called 'bgi': known: all\."):
        DeviceSession(replace(device, cores="bgi"), 1, timeout_s=10)


def test_a_device_tells_its_state(device: Address) -> None:
    assert DeviceSession(device, 1, timeout_s=10).state().load is not None


def test_more_threads_than_cores_are_refused(device: Address) -> None:
    with pytest.raises(DeviceError, match=f"give --threads {usable_cores()} or fewer"):
        DeviceSession(device, usable_cores() + 1, timeout_s=10)


def test_nobody_listening_is_said_with_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(DeviceError, match=r"refused\. Start it there with: python -m edgetvm"):
        reach(Address("127.0.0.1", port))


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n", b"\x00\x00\x00\x00"])
def test_another_kind_of_server_is_recognised(answer: bytes) -> None:
    with listener(answer) as address, pytest.raises(DeviceError, match="no TVM RPC server"):
        reach(address)


def test_a_silent_server_does_not_block() -> None:
    with listener(None) as address, pytest.raises(DeviceError, match="does not answer within"):
        reach(address, timeout_s=0.2)


def test_stock_tvm_server_is_refused(device: Address) -> None:
    server = rpc.Server("127.0.0.1", port=19090, port_end=19190, key="edgetvm", silent=True)
    try:
        with pytest.raises(DeviceError, match="not one of edgetvm"):
            DeviceSession(Address("127.0.0.1", server.port), 1, timeout_s=10)
    finally:
        server.terminate()


def test_another_tvm_version_is_refused(device: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module.tvm, "__version__", "0.18.0")
    with pytest.raises(
        VersionError, match=r"TVM 0\.19\.0, this machine edgetvm .* with TVM 0\.18\.0"
    ):
        DeviceSession(device, 1, timeout_s=10)


def test_garbage_and_half_open_connections_do_not_disturb_the_server() -> None:
    with loopback_server() as address:
        where = (address.host, address.port)
        half_open = socket.create_connection(where)
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x71\xf2\x0f\x00\xff\xff\xff\x7f", b"x"):
            with socket.create_connection(where) as connection:
                connection.sendall(garbage)
        with half_open:
            assert describe_device(address).arch == DeviceInfo.here(tvm.__version__).arch


def test_a_crashed_session_leaves_the_server_running() -> None:
    with loopback_server() as address:
        session = DeviceSession(address, 1, timeout_s=10)
        (pid,) = _session_processes(address)
        pid.kill()
        with pytest.raises(tvm.TVMError):
            session.remote.get_function("runtime.NumThreads")()
        assert describe_device(address).cores == usable_cores()


def test_a_session_that_takes_too_long_is_ended() -> None:
    with loopback_server() as address:
        session = DeviceSession(address, 1, timeout_s=0.5)
        time.sleep(1.0)
        with pytest.raises(tvm.TVMError):
            session.remote.get_function("runtime.NumThreads")()
        assert describe_device(address).cores == usable_cores()


def test_the_second_client_waits_for_the_first() -> None:
    with loopback_server() as address:
        first = DeviceSession(address, 1, timeout_s=30)
        second: list[DeviceSession] = []
        waiting = threading.Thread(
            target=lambda: second.append(DeviceSession(address, 1, timeout_s=30))
        )
        waiting.start()
        waiting.join(0.5)
        assert not second
        del first
        waiting.join(20)
        assert second


def test_the_server_ends_with_its_parent() -> None:
    with loopback_server() as address:
        pass
    with pytest.raises(DeviceError):
        reach(address, timeout_s=1)


def test_a_server_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgetvm.stages.device.loopback.sys.executable", "/bin/false")
    with pytest.raises(DeviceError, match="did not start: no message"), loopback_server():
        pass


def test_a_taken_port_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DeviceError, match=f"Cannot listen on 127.0.0.1:{port}"):
            DeviceServer("127.0.0.1", port)


def test_code_for_another_cpu_is_refused(device: Address) -> None:
    info = describe_device(device)
    profile = detect_host_profile()
    check_device_fits(info, profile, device)
    other = msgspec.structs.replace(profile, arch="riscv64")
    with pytest.raises(DeviceError, match="is riscv64: give --rpc"):
        check_device_fits(info, other, device)
    with pytest.raises(DeviceError, match="lacks sve2"):
        check_device_fits(info, msgspec.structs.replace(profile, features=("sve2",)), device)


def test_without_rpc_the_device_is_this_machine() -> None:
    with device_at(None) as address:
        assert describe_device(address).host == DeviceInfo.here(tvm.__version__).host
    with device_at("192.168.1.20") as address:
        assert address == Address("192.168.1.20", DEFAULT_PORT)


def test_contenders_are_timed_in_turn() -> None:
    calls = []

    def contender(name: str, seconds: float) -> Contender:
        def sample_s(number: int) -> float:
            calls.append((name, number))
            return seconds

        return Contender(sample_s)

    timed = time_interleaved({"a": contender("a", 0.01), "b": contender("b", 0.05)}, rounds=2)
    assert calls[-4:] == [("a", 2), ("b", 1), ("a", 2), ("b", 1)]
    assert timed["a"].samples_s == (0.01, 0.01)
    assert timed["b"].number == 1


def _session_processes(address: Address) -> list["object"]:
    import psutil

    server = next(
        process
        for process in psutil.Process().children(recursive=True)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == address.port
    )
    leaves = [p for p in server.children(recursive=True) if not p.children()]
    return [p for p in leaves if "resource_tracker" not in " ".join(p.cmdline())]


def test_a_file_that_is_no_library_is_refused(tmp_path: Path, device: Address) -> None:
    (tmp_path / "no_library.so").write_bytes(b"no ELF file")
    from edgetvm.stages.device.library import RemoteLibrary

    session = DeviceSession(device, 1, timeout_s=10)
    with pytest.raises(DeviceError, match=r"failed on no_library\.so"):
        RemoteLibrary(session, tmp_path / "no_library.so", "input")
