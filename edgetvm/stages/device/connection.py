"""Connections to a device: reached, greeted, and carried through this machine's loopback.

TVM's client connects a TCP port in the clear and waits for ever for a peer that vanished. So the
sessions with a device in the network go through a forwarder, see
:mod:`edgetvm.stages.device.forwarder`, which opens what is made here.
"""

import asyncio
import os
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from edgetvm.access import Token, client_tls
from edgetvm.errors import DeviceError, VersionError
from edgetvm.stages.device.greeting import MAX_LINE_BYTES, Answer, Hello, Versions, as_line

RPC_KEY = "edgetvm"
DEFAULT_PORT = 9090
REACH_TIMEOUT_S = 10.0
START_SERVER = "Start it there with: python -m edgetvm.serve --host 0.0.0.0"

RPC_MAGIC = 0xFF271
RPC_MISMATCH = RPC_MAGIC + 2
"""TVM's; written here because a forwarder does not load TVM."""

CHUNK_BYTES = 1 << 18
IDLE_S, INTERVAL_S, PROBES = 5, 2, 5
"""A peer that answers nothing, not even to the kernel, is given up after 15 s."""

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class Route:
    """How a device is reached.

    Attributes
    ----------
    token : of its server, which is then spoken to inside TLS; None if it asks for none.
    """

    host: str
    port: int
    token: Token | None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    async def open(self, versions: Versions, timeout_s: float = REACH_TIMEOUT_S) -> Stream:
        """Connect, and be greeted where the server asks for a token.

        Raises
        ------
        DeviceError
            Nothing listens there, it does not answer in time, is another than the token says, or
            turns this client away; a `VersionError` if only for its versions.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._open(versions)
        except TimeoutError as err:
            raise DeviceError(
                f"{self} does not answer within {timeout_s:g} s: is the address right, and does "
                f"edgetvm's server run on the device? {START_SERVER}"
            ) from err
        except (EOFError, msgspec.DecodeError) as err:
            raise DeviceError(
                f"What listens on {self} is no edgetvm server. {START_SERVER}"
            ) from err
        except OSError as err:
            raise DeviceError(f"{self} cannot be reached: {_reason(err)}. {START_SERVER}") from err

    async def _open(self, versions: Versions) -> Stream:
        tls = client_tls() if self.token else None
        stream = await asyncio.open_connection(self.host, self.port, ssl=tls, limit=MAX_LINE_BYTES)
        keep_alive(stream[1])
        try:
            if self.token is not None:
                await self._be_greeted(stream, self.token, versions)
        except BaseException:
            stream[1].close()
            raise
        return stream

    async def _be_greeted(self, stream: Stream, token: Token, versions: Versions) -> None:
        reader, writer = stream
        certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        if not token.is_certificate(certificate):
            raise DeviceError(
                f"{self} is not the server that its token was made for: give --token as it "
                "prints it now. If nobody set it up anew, do not trust it."
            )
        writer.write(as_line(Hello(versions=versions, secret=token.secret.hex())))
        answer = msgspec.json.decode(await reader.readline(), type=Answer)
        if answer.refusal:
            kind = VersionError if answer.is_token_right else DeviceError
            raise kind(f"{self} turns this machine away: {answer.refusal}.")

    async def _is_encrypted(self) -> bool:
        with suppress(OSError, EOFError):
            async with asyncio.timeout(REACH_TIMEOUT_S):
                stream = await asyncio.open_connection(self.host, self.port, ssl=client_tls())
                stream[1].close()
                return True
        return False

    async def probe(self, versions: Versions, timeout_s: float = REACH_TIMEOUT_S) -> None:
        """Make sure that a TVM RPC server answers, without opening a session.

        The probe's key fits no session, which every TVM server refuses with a code of its own.

        Raises
        ------
        DeviceError
            As :meth:`open`; or it is something else, or asks for a token.
        """
        reader, writer = await self.open(versions, timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                writer.write(rpc_greeting("client:edgetvm-probe"))
                answer = await reader.read(4)
        except (OSError, TimeoutError) as err:
            raise DeviceError(
                f"{self} does not answer within {timeout_s:g} s: is the address right, and does "
                f"edgetvm's server run on the device? {START_SERVER}"
            ) from err
        finally:
            writer.close()
        if answer != struct.pack("<i", RPC_MISMATCH):
            if self.token is None and await self._is_encrypted():
                raise DeviceError(
                    f"{self} asks for a token. Run once, with the token that its server printed: "
                    f"python -m edgetvm.deploy --rpc {self} --token TOKEN; it is kept."
                )
            raise DeviceError(f"What listens on {self} is no TVM RPC server. {START_SERVER}")


def _reason(err: OSError) -> str:
    """Return the system's word for an error, which asyncio replaces by its own."""
    number = err.errno or 0
    return os.strerror(number) if number > 0 else str(err.strerror or err)


def rpc_greeting(key: str) -> bytes:
    """Return the beginning of TVM's protocol as a client with `key` sends it."""
    content = key.encode()
    return struct.pack("<ii", RPC_MAGIC, len(content)) + content


def keep_alive(writer: asyncio.StreamWriter) -> None:
    """Have the kernel ask after the peer of a TCP connection while nothing is sent."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in {
        socket.TCP_NODELAY: 1,
        socket.TCP_KEEPIDLE: IDLE_S,
        socket.TCP_KEEPINTVL: INTERVAL_S,
        socket.TCP_KEEPCNT: PROBES,
        socket.TCP_USER_TIMEOUT: 1000 * (IDLE_S + INTERVAL_S * PROBES),
    }.items():
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


async def carry_both_ways(left: Stream, right: Stream) -> None:
    """Carry bytes between two connections until one of them ends."""
    ways = [
        asyncio.create_task(_carry(left[0], right[1])),
        asyncio.create_task(_carry(right[0], left[1])),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):  # a connection that breaks has ended
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
