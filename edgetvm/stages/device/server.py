"""The RPC server on a device: TVM's protocol, one session at a time, each in a process of its own.

TVM's own server stops listening for good when a session's process crashes, and a client that
says nothing blocks all others. Here every connection is greeted beside the others, and a crashed,
hung or killed session takes nothing with it.
"""

import asyncio
import logging
import multiprocessing
import os
import socket
import struct
import tempfile
from contextlib import suppress
from multiprocessing.context import ForkServerContext
from pathlib import Path

import msgspec
from tvm.rpc import base

from edgetvm.access import ServerIdentity
from edgetvm.errors import DeviceError
from edgetvm.stages.device import session_process
from edgetvm.stages.device.connection import RPC_KEY, carry_both_ways, keep_alive
from edgetvm.stages.device.greeting import MAX_LINE_BYTES, Answer, Hello, Versions, as_line
from edgetvm.stages.device.tracker import Registration

GREETING_TIMEOUT_S = 5.0
WRONG_TOKEN_DELAY_S = 2.0
MAX_GREETED = 64
"""Connections greeted at a time: further ones are turned away, so that they cost nothing."""

MAX_KEY_BYTES = 1024

HUGE_PAGES = "glibc.malloc.hugetlb=1"
"""Weights and activations on pages of 4 KiB miss the TLB at every turn: ask for large ones."""

logger = logging.getLogger(__name__)


class DeviceServer:
    """Listens on ``host:port`` and serves TVM RPC sessions one after another.

    Parameters
    ----------
    port : 0 takes any free port; `address` tells which.
    identity : asks clients for its token, inside TLS; None serves everyone who reaches the port.
    registration : with a tracker.

    Raises
    ------
    DeviceError
        The port is taken or the address is not this machine's.
    """

    def __init__(
        self,
        host: str,
        port: int,
        identity: ServerIdentity | None = None,
        registration: Registration | None = None,
    ) -> None:
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._socket = socket.create_server((host, port), family=family, backlog=64)
        except (OSError, OverflowError) as err:
            raise DeviceError(
                f"Cannot listen on {host}:{port}: {err}. Give another --port or --host."
            ) from err
        self.address: tuple[str, int] = self._socket.getsockname()[:2]
        self._identity = identity
        self._registration = registration
        # Sessions are forked from a process without threads that has TVM loaded already, and
        # that starts with this environment.
        os.environ.setdefault("GLIBC_TUNABLES", HUGE_PAGES)
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([session_process.__name__])
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._one_session = asyncio.Lock()
        self._greeted = 0

    def serve_forever(self) -> None:
        """Accept connections until :meth:`close` is called."""
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    def close(self) -> None:
        """Stop listening, and end a running session."""
        self._loop.call_soon_threadsafe(self._closing.set)

    async def _serve(self) -> None:
        tls = self._identity.tls() if self._identity else None
        server = await asyncio.start_server(
            self._greet,
            sock=self._socket,
            ssl=tls,
            ssl_handshake_timeout=GREETING_TIMEOUT_S if tls else None,
            ssl_shutdown_timeout=GREETING_TIMEOUT_S if tls else None,
            limit=MAX_LINE_BYTES,
        )
        registered = None
        if self._registration is not None:
            registered = asyncio.create_task(self._registration.keep(self.address[1]))
        async with server:
            await self._closing.wait()
        if registered is not None:
            registered.cancel()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = "{}:{}".format(*writer.get_extra_info("peername")[:2])
        self._greeted += 1
        is_sent = False
        try:
            if self._greeted > MAX_GREETED:
                logger.warning("%s turned away: %s others wait", peer, MAX_GREETED)
                return
            async with asyncio.timeout(GREETING_TIMEOUT_S):
                if self._identity is not None and not await self._admit(reader, writer, peer):
                    return
                name, timeout_s = await _read_key(reader)
            is_sent = self._registration is not None and self._registration.take(name)
            if not is_sent and name != RPC_KEY:
                writer.write(struct.pack("<i", base.RPC_CODE_MISMATCH))
                await writer.drain()
                return
            async with self._one_session:
                await self._run_session(reader, writer, peer, timeout_s)
        except asyncio.CancelledError:
            return  # the server closes; asyncio's streams cannot take a cancelled task
        except (OSError, EOFError, TimeoutError, ValueError, msgspec.MsgspecError) as err:
            logger.info("%s left or is no client: %s", peer, err or type(err).__name__)
        finally:
            self._greeted -= 1
            if self._registration is not None and is_sent:
                self._registration.renew()
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _admit(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str
    ) -> bool:
        """Exchange versions and ask for the token; say whether the client may go on."""
        assert self._identity is not None
        hello = msgspec.json.decode(await _read_line(reader), type=Hello)
        here, refusal = Versions.here(), ""
        is_token_right = self._identity.token.is_secret(bytes.fromhex(hello.secret))
        if not is_token_right:
            logger.warning("%s gave a wrong token", peer)
            await asyncio.sleep(WRONG_TOKEN_DELAY_S)
            refusal = "the token is wrong: give --token as the server printed it"
        elif not here.fits(hello.versions):
            refusal = f"it runs {here}, you {hello.versions}: install the same edgetvm on both"
        answer = Answer(versions=here, refusal=refusal, is_token_right=is_token_right)
        writer.write(as_line(answer))
        await writer.drain()
        return not refusal

    async def _run_session(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        peer: str,
        timeout_s: float | None,
    ) -> None:
        answer = f"server:{RPC_KEY}".encode()
        writer.write(struct.pack("<ii", base.RPC_CODE_SUCCESS, len(answer)) + answer)
        await writer.drain()
        logger.info("session of %s", peer)
        keep_alive(writer)
        ours, theirs = socket.socketpair()
        inside = await asyncio.open_unix_connection(sock=ours)
        with tempfile.TemporaryDirectory(prefix="edgetvm-session-") as folder:
            arguments = (theirs, Path(folder))
            session = self._context.Process(
                target=session_process.serve, args=arguments, daemon=True
            )
            await asyncio.to_thread(session.start)  # the first one waits until TVM is loaded
            theirs.close()
            try:
                async with asyncio.timeout(timeout_s):
                    await carry_both_ways((reader, writer), inside)
            except TimeoutError:
                logger.warning("session of %s took longer than %s s", peer, timeout_s)
            finally:
                # Whoever left, there is nobody any more for whom this process could compute.
                session.kill()
                await asyncio.to_thread(session.join)
                inside[1].close()


async def _read_line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\n")
    except asyncio.LimitOverrunError as err:
        raise ValueError("greeting too long") from err


async def _read_key(reader: asyncio.StreamReader) -> tuple[str, float | None]:
    """Read the beginning of TVM's protocol: the key and the time limit that the client gives."""
    magic, length = struct.unpack("<ii", await reader.readexactly(8))
    if magic != base.RPC_MAGIC:
        raise ValueError("no TVM RPC client")
    if not 0 < length < MAX_KEY_BYTES:
        raise ValueError("key too long")
    name, *options = (await reader.readexactly(length)).decode("utf-8", "replace").split() or [""]
    timeouts = [option.removeprefix("-timeout=") for option in options if "-timeout=" in option]
    return name.removeprefix("client:"), float(timeouts[0]) if timeouts else None
