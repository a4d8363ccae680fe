"""A server that asks for a token, over real sockets: right clients, wrong ones, and floods."""

import asyncio
import os
import resource
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from edgetvm.access import KnownTokens, Token, client_tls
from edgetvm.deploy import deploy
from edgetvm.errors import DeviceError, VersionError
from edgetvm.paths import DataFolders
from edgetvm.serve import serve
from edgetvm.stages.device import server as server_module
from edgetvm.stages.device.choice import device_at
from edgetvm.stages.device.greeting import MAX_LINE_BYTES, Answer, Hello, Versions, as_line
from edgetvm.stages.device.session import Address, DeviceSession, describe_device, reach
from edgetvm.tune import tune
from tests.conftest import TINY, TINY_SHAPE, Invoke

pytestmark = pytest.mark.slow


def other_token() -> Token:
    return Token(b"s" * 15, b"f" * 15)


def dial(address: Address) -> ssl.SSLSocket:
    plain = socket.create_connection((address.host, address.port), 10)
    return client_tls().wrap_socket(plain)


def test_the_right_token_opens_a_session(guarded: Address) -> None:
    info = describe_device(guarded)
    session = DeviceSession(guarded, 1, timeout_s=20)
    assert session.threads == 1
    assert session.info == info


def test_large_uploads_arrive_whole(guarded: Address, tmp_path: Path) -> None:
    session = DeviceSession(guarded, 1, timeout_s=60)
    content = bytearray(range(256)) * (1 << 14)
    session.remote.upload(content, "large")
    assert session.remote.download("large") == content


def test_without_a_token_the_server_says_that_it_wants_one(guarded: Address) -> None:
    with pytest.raises(DeviceError, match=r"asks for a token\. Run once, .* --token TOKEN"):
        reach(replace(guarded, token=None))


def test_a_wrong_secret_is_turned_away_late(guarded: Address) -> None:
    assert guarded.token
    wrong = replace(guarded, token=replace(guarded.token, secret=b"x" * 15))
    started_s = time.monotonic()
    with pytest.raises(DeviceError, match="turns this machine away: the token is wrong") as caught:
        reach(wrong)
    assert not isinstance(caught.value, VersionError)
    assert time.monotonic() - started_s >= server_module.WRONG_TOKEN_DELAY_S


def test_another_server_than_the_tokens_is_not_trusted(guarded: Address) -> None:
    assert guarded.token
    stranger = replace(guarded, token=replace(guarded.token, fingerprint=b"x" * 15))
    with pytest.raises(DeviceError, match="is not the server that its token was made for"):
        reach(stranger)


def test_another_version_is_refused_with_the_remedy(guarded: Address) -> None:
    old = msgspec.structs.replace(Versions.here(), tvm="0.18.0")
    with pytest.raises(VersionError, match=r"you edgetvm .* with TVM 0\.18\.0: install the same"):
        asyncio.run(guarded.route.probe(old))


def test_nothing_of_tvm_is_read_before_the_token(guarded: Address) -> None:
    with dial(guarded) as connection:
        connection.sendall(b"\x71\xf2\x0f\x00\x0e\x00\x00\x00client:edgetvm\n")
        assert connection.recv(100) == b""


def test_a_greeting_without_end_is_cut_off(guarded: Address) -> None:
    with dial(guarded) as connection:
        connection.sendall(b"x" * (2 * MAX_LINE_BYTES))
        assert connection.recv(100) == b""


def test_a_greeting_byte_by_byte_is_cut_off(guarded: Address) -> None:
    assert guarded.token
    hello = as_line(Hello(versions=Versions.here(), secret=guarded.token.secret.hex()))
    # The end of the connection is noticed by the second byte sent after it: not all can be sent.
    with dial(guarded) as connection, pytest.raises(OSError, match=r"Broken pipe|reset|EOF"):
        send_slowly(connection, hello * 10)


def send_slowly(connection: ssl.SSLSocket, content: bytes) -> None:
    for byte in content:
        connection.sendall(bytes([byte]))
        time.sleep(server_module.GREETING_TIMEOUT_S / 20)


def test_silent_and_garbled_clients_do_not_disturb_others(guarded: Address) -> None:
    where = (guarded.host, guarded.port)
    silent = [socket.create_connection(where) for _ in range(20)]
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", bytes(200), b"\x16\x03\x01\xff\xff"):
        with socket.create_connection(where) as connection:
            connection.sendall(garbage)
    assert describe_device(guarded).cores
    for connection in silent:
        connection.close()


def test_a_thousand_connections_leave_the_server_standing(guarded: Address) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    try:
        many = []
        for _ in range(1000):
            connection = socket.socket()
            connection.setblocking(False)
            connection.connect_ex((guarded.host, guarded.port))
            many.append(connection)
        time.sleep(1)
        for connection in many:
            connection.close()
        assert describe_device(guarded).cores
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_answer_tells_a_stranger_no_more_than_versions(guarded: Address) -> None:
    with dial(guarded) as connection:
        connection.sendall(as_line(Hello(versions=Versions.here(), secret="00" * 15)))
        answer = msgspec.json.decode(connection.recv(4096), type=Answer)
    assert answer.versions == Versions.here()
    assert answer.refusal


def test_a_token_that_was_right_is_kept_for_the_host(
    guarded: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    rpc = f"127.0.0.1:{guarded.port}"
    with pytest.raises(DeviceError), device_at(rpc, str(other_token())):
        pass
    assert KnownTokens.read().of("127.0.0.1") is None
    with device_at(rpc, str(guarded.token)) as address:
        assert describe_device(address).cores
    assert KnownTokens.read().of("127.0.0.1") == guarded.token


def test_a_session_over_its_time_is_ended(guarded: Address) -> None:
    errors = []

    def wait() -> None:
        session = DeviceSession(guarded, 1, timeout_s=2)
        try:
            session.remote.get_function("tvm.testing.sleep_in_ffi")(30.0)
        except Exception as err:  # noqa: BLE001 - whatever TVM makes of it
            errors.append(err)

    waiting = threading.Thread(target=wait)
    waiting.start()
    waiting.join(20)
    assert errors


@contextmanager
def serving(config: Path, *options: str) -> Iterator[tuple[str, str]]:
    """``edgetvm.serve`` on an address that is not this machine's usual loopback; what it says."""
    command = [sys.executable, "-m", "edgetvm.serve", "--host", "127.0.0.2", "--port", "0"]
    with subprocess.Popen(
        [*command, "--until-stdin-closes", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"XDG_CONFIG_HOME": str(config)},
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        rpc = process.stdout.readline().removeprefix("listening on ").strip()
        yield rpc, process.stderr.readline()
        process.stdin.close()


def test_deploy_needs_the_token_once(
    project: DataFolders, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "client"))
    invoke(tune, TINY, "--target", "host", "--input-shape", TINY_SHAPE, "--trials", "0")
    with serving(tmp_path / "board") as (rpc, hint):
        token = hint.split("--token ")[1].strip()
        without = invoke(deploy, "--rpc", rpc)
        assert without.exit_code == 3
        assert "asks for a token. Run once" in without.error
        for options in (("--token", token), ()):
            outcome = invoke(deploy, "--rpc", rpc, "--repeat", "2", *options)
            assert outcome.exit_code == 0, outcome.stderr


def test_an_open_server_warns_and_asks_nobody(tmp_path: Path) -> None:
    with serving(tmp_path, "--open") as (rpc, hint):
        assert "--token" not in hint
        assert describe_device(Address.parse(rpc)).cores
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "message"),
    [("--rpc", "name devices both"), ("--token", "has a token of its own")],
)
def test_what_a_tracker_makes_senseless_is_refused(
    option: str, message: str, project: DataFolders, invoke: Invoke
) -> None:
    outcome = invoke(tune, TINY, "--target", "host", "--tracker", "127.0.0.1", option, "x")
    assert outcome.exit_code == 2
    assert message in outcome.error


def test_a_tracker_without_a_key_is_refused(invoke: Invoke) -> None:
    outcome = invoke(serve, "--tracker", "127.0.0.1")
    assert outcome.exit_code == 2
    assert "--tracker and --key belong together" in outcome.error
