"""Several boards of one kind, found through a tracker: which are there, and which are left out."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from edgetvm.access import KnownTokens, Token
from edgetvm.errors import DeviceError
from edgetvm.stages.device.session import Address, DeviceSession, reach
from edgetvm.stages.device.tracker import Tracker

FREE_WITHIN_S = 60.0
"""A board that is busy for others is waited for so long."""

REST_S = 60.0
"""A board that failed is left out for so long; then it is tried again."""


@dataclass
class Board:
    """One board of a fleet, as far as this run has met it.

    Attributes
    ----------
    trials : measured on it.
    failures : sessions that it lost, or never gave.
    out_until_s : monotonic time until which it is left out.
    """

    trials: int = 0
    failures: int = 0
    out_until_s: float = 0.0

    @property
    def is_out(self) -> bool:
        """Whether it failed a moment ago."""
        return time.monotonic() < self.out_until_s


@dataclass
class Fleet:
    """The boards that a tracker knows by `key`.

    Attributes
    ----------
    cores, opencl : what sessions compute on, see :class:`Address`.
    boards : those met so far, by address.
    """

    tracker: Tracker
    key: str
    token_of: Callable[[str], Token | None] = lambda _host: None
    cores: str = ""
    opencl: bool = False
    boards: dict[str, Board] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def at(cls, tracker: str, key: str) -> "Fleet":
        """Return the boards of a kind at a tracker, with the tokens that this user keeps.

        Parameters
        ----------
        tracker : ``HOST[:PORT]``.

        Raises
        ------
        UsageError
            `tracker` is no address.
        """
        return cls(Tracker.parse(tracker), key, KnownTokens.read().of)

    @property
    def size(self) -> int:
        """How many boards are registered, at least one; raises as :meth:`Tracker.servers`."""
        return len(self.tracker.servers(self.key))

    def find_address(self) -> Address:
        """Return the address of one that answers, for what takes one session at a time.

        Raises
        ------
        DeviceError
            None answers.
        """
        reason = None
        for host, port in self.tracker.servers(self.key):
            address = self._address(host, port)
            try:
                reach(address)
            except DeviceError as err:
                reason = err
            else:
                return address
        raise DeviceError(f"No {self.key} of the tracker {self.tracker} works: {reason}")

    def open(self, threads: int, timeout_s: float) -> tuple[str, DeviceSession]:
        """Open a session with a board that is free; return the board's address, too.

        Raises
        ------
        DeviceError
            None is free, or all that are fail.
        """
        reason: object = "all were left out a moment ago"
        for _ in range(2 * self.size):
            host, port, key = self.tracker.request(self.key, FREE_WITHIN_S)
            address = replace(self._address(host, port), key=key)
            name = str(address)
            with self._lock:
                board = self.boards.setdefault(name, Board())
            if board.is_out:
                continue
            try:
                return name, DeviceSession(address, threads, timeout_s)
            except DeviceError as err:
                self.leave_out(name)
                reason = err
        raise DeviceError(f"No {self.key} of the tracker {self.tracker} works: {reason}")

    def _address(self, host: str, port: int) -> Address:
        return Address(host, port, self.token_of(host), cores=self.cores, opencl=self.opencl)

    def leave_out(self, name: str) -> None:
        """Give no work to a board for a while: its session was lost."""
        with self._lock:
            board = self.boards[name]
            board.failures += 1
            board.out_until_s = time.monotonic() + REST_S

    def note_trial(self, name: str) -> None:
        """Count a trial measured on a board."""
        with self._lock:
            self.boards[name].trials += 1
