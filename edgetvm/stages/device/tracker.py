"""TVM's tracker: servers say that they are free, clients ask for a free one of a kind.

The tracker is TVM's own, ``python -m tvm.exec.rpc_tracker``. It hands out addresses and match
keys; what makes a client welcome is the server's own affair.
"""

import asyncio
import json
import logging
import secrets
import socket
import struct
from dataclasses import dataclass, field
from typing import Any, Self

from tvm.rpc import base
from tvm.rpc.base import TrackerCode

from edgetvm.errors import DeviceError, UsageError, did_you_mean

DEFAULT_PORT = 9190
RETRY_S = 5.0
ASK_S = 2.0
FORGOTTEN_AFTER = 5
"""A key that the tracker gave away so many questions ago, unused, is offered anew."""

logger = logging.getLogger(__name__)


@dataclass
class Registration:
    """A server's place in a tracker's queue.

    Parameters
    ----------
    host, port : of the tracker.
    key : kind of device, such as ``rasp4b``.
    own_host : address by which clients reach the server; None is the one that the tracker sees.
    """

    host: str
    port: int
    key: str
    own_host: str | None = None
    _match_key: str = ""
    _free: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, key: str) -> bool:
        """Whether a client that comes with `key` was sent by the tracker; a key is good once."""
        is_match = bool(self._match_key) and key == self._match_key
        if is_match:
            self._match_key = ""
        return is_match

    def renew(self) -> None:
        """Offer the server again, after a session."""
        self._free.set()

    async def keep(self, own_port: int) -> None:
        """Stay registered, whatever becomes of the tracker; runs until it is cancelled."""
        while True:
            try:
                await self._stay(own_port)
            except (OSError, EOFError) as err:
                logger.warning("tracker %s:%s is lost: %s", self.host, self.port, err)
            await asyncio.sleep(RETRY_S)

    async def _stay(self, own_port: int) -> None:
        reader, writer = await asyncio.open_connection(self.host, self.port)

        async def ask(*message: Any) -> Any:
            text = json.dumps(message).encode()
            writer.write(struct.pack("<i", len(text)) + text)
            await writer.drain()
            (length,) = struct.unpack("<i", await reader.readexactly(4))
            return json.loads(await reader.readexactly(length))

        async def offer() -> None:
            self._match_key = f"{self.key}:{secrets.token_hex(8)}"
            where = [own_port, self._match_key]
            await ask(TrackerCode.PUT, self.key, where, self.own_host)

        try:
            writer.write(struct.pack("<i", base.RPC_TRACKER_MAGIC))
            if await reader.readexactly(4) != struct.pack("<i", base.RPC_TRACKER_MAGIC):
                raise OSError("it is no TVM tracker")
            info = {"key": f"server:{self.key}", "addr": [self.own_host, own_port]}
            await ask(TrackerCode.UPDATE_INFO, info)
            logger.info("registered with %s:%s as %s", self.host, self.port, self.key)
            await offer()
            given_away = 0
            while True:
                try:
                    await asyncio.wait_for(self._free.wait(), ASK_S)
                except TimeoutError:
                    waiting = await ask(TrackerCode.GET_PENDING_MATCHKEYS)
                    is_kept = not self._match_key or self._match_key in waiting
                    given_away = 0 if is_kept else given_away + 1
                    if given_away < FORGOTTEN_AFTER:
                        continue
                self._free.clear()
                given_away = 0
                await offer()
        finally:
            writer.close()


@dataclass(frozen=True)
class Tracker:
    """A tracker as a client sees it."""

    host: str
    port: int = DEFAULT_PORT

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``HOST`` or ``HOST:PORT``.

        Raises
        ------
        UsageError
            It is neither.
        """
        host, _, port = text.partition(":")
        if not host or not (port or "1").isdecimal():
            raise UsageError(f"--tracker {text!r} is no address: give HOST or HOST:PORT.")
        return cls(host, int(port or DEFAULT_PORT))

    def request(self, key: str, timeout_s: float) -> tuple[str, int, str]:
        """Ask for a free server of the kind `key`; return its host, port and match key.

        Raises
        ------
        DeviceError
            The tracker does not answer, or no server is free within `timeout_s`.
        """
        try:
            with self._connect(timeout_s) as connection:
                base.sendjson(connection, [TrackerCode.REQUEST, key, "", 0])
                code, where = base.recvjson(connection)
        except TimeoutError as err:
            raise DeviceError(
                f"No {key} is free at the tracker {self} within {timeout_s:g} s: register one "
                f"there with python -m edgetvm.serve --tracker {self} --key {key}."
            ) from err
        except OSError as err:
            raise self._unreachable(err) from err
        assert code == TrackerCode.SUCCESS, "a tracker gives a server or no answer"
        host, port, match_key = where
        return host, port, match_key

    def servers(self, key: str) -> list[tuple[str, int]]:
        """Return host and port of each registered server of the kind `key`, busy ones too.

        Raises
        ------
        DeviceError
            The tracker does not answer, or knows none.
        """
        try:
            with self._connect(RETRY_S) as connection:
                base.sendjson(connection, [TrackerCode.SUMMARY])
                _, summary = base.recvjson(connection)
        except OSError as err:
            raise self._unreachable(err) from err
        servers = summary["server_info"]
        found = [tuple(one["addr"]) for one in servers if one["key"] == f"server:{key}"]
        if not found:
            known = {one["key"].removeprefix("server:") for one in servers}
            raise DeviceError(
                f"The tracker {self} has no {key!r}: {did_you_mean(key, known)} Register one "
                f"there with python -m edgetvm.serve --tracker {self} --key {key}."
            )
        return found

    def _connect(self, timeout_s: float) -> socket.socket:
        connection = socket.create_connection((self.host, self.port), timeout_s)
        connection.sendall(struct.pack("<i", base.RPC_TRACKER_MAGIC))
        if base.recvall(connection, 4) != struct.pack("<i", base.RPC_TRACKER_MAGIC):
            connection.close()
            raise OSError("it is no TVM tracker")
        return connection

    def _unreachable(self, err: OSError) -> DeviceError:
        return DeviceError(
            f"The tracker {self} cannot be reached: {err}. Start it with: "
            f"python -m tvm.exec.rpc_tracker --host 0.0.0.0 --port {self.port} "
            f"--port-end {self.port + 1}"
        )

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"
