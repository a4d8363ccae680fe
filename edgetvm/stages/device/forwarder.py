"""Carries a client's sessions to one device; a process of its own beside the client.

TVM's client connects to a port here, in the clear; the forwarder speaks with the device's server
inside TLS, notices when the network is cut, and then ends the session. As a process of its own it
is not held up by a search that keeps the client's interpreter busy.
"""

import asyncio
import atexit
import hmac
import secrets
import struct
import subprocess
import sys
from contextlib import suppress
from functools import partial

import msgspec

from edgetvm.access import Token
from edgetvm.errors import DeviceError
from edgetvm.stages.device.connection import RPC_MAGIC, Route, carry_both_ways, rpc_greeting
from edgetvm.stages.device.greeting import Versions

MAX_KEY_BYTES = 1024


class Task(msgspec.Struct, frozen=True):
    """What a forwarder is told on its standard input, where no other user can read it.

    Attributes
    ----------
    password : that the client's sessions begin their key with: other users can connect, too.
    """

    host: str
    port: int
    token: str | None
    versions: Versions
    password: str


class Forwarder:
    """A running forwarder; it ends with this process.

    Attributes
    ----------
    port : on this machine's loopback.
    """

    def __init__(self, route: Route) -> None:
        self._password = secrets.token_hex(16)
        task = Task(
            host=route.host,
            port=route.port,
            token=str(route.token) if route.token else None,
            versions=Versions.here(),
            password=self._password,
        )
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is the client's affair
        )
        atexit.register(self._process.kill)
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(msgspec.json.encode(task) + b"\n")
        self._process.stdin.flush()
        self.port = int(self._process.stdout.readline())

    @classmethod
    def to(cls, route: Route) -> "Forwarder":
        """Return the forwarder to a device, one for all sessions."""
        found = _forwarders.get(route)
        if found is None or found._process.poll() is not None:
            found = _forwarders[route] = cls(route)
        return found

    def key(self, key: str) -> str:
        """Return what the client has to give as its key, for `key` to reach the device."""
        return f"{self._password}/{key}"


_forwarders: dict[Route, Forwarder] = {}


async def forward(task: Task) -> None:
    """Carry sessions until standard input ends."""
    route = Route(task.host, task.port, Token.parse(task.token) if task.token else None)
    server = await asyncio.start_server(partial(_carry_session, task, route), "127.0.0.1", 0)
    async with server:
        print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - for the client
        await asyncio.to_thread(sys.stdin.buffer.read)


async def _carry_session(
    task: Task, route: Route, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        magic, length = struct.unpack("<ii", await reader.readexactly(8))
        if magic != RPC_MAGIC or not 0 < length < MAX_KEY_BYTES:
            return
        name = (await reader.readexactly(length)).decode()
        password, _, key = name.removeprefix("client:").partition("/")
        if hmac.compare_digest(password, task.password):
            far = await route.open(task.versions)
            far[1].write(rpc_greeting(f"client:{key}"))
            await carry_both_ways((reader, writer), far)
            far[1].close()
    except (OSError, EOFError, ValueError, DeviceError):
        return  # TVM's client sees its connection end, and the next session's probe says why
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


if __name__ == "__main__":
    asyncio.run(forward(msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)))
