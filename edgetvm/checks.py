"""Checks as data: what was looked at, what was found, what to do about it."""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import msgspec

from edgetvm.errors import EdgetvmError

Status = Literal["ok", "note", "warning", "wrong", "not tried"]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What one check came to.

    Attributes
    ----------
    status : `wrong` keeps commands from working, a `warning` makes their results worth less, a
        `note` is of what not every installation needs.
    found : what is there, or what is wrong with it.
    remedy : what to do; empty if nothing, or if `found` is a message that says so.
    exit_code : of the kind of error that it is; 0 unless it is wrong.
    """

    name: str
    status: Status = "ok"
    found: str = ""
    remedy: str = ""
    exit_code: int = 0

    def __str__(self) -> str:
        """Return what was found and what to do, in a line."""
        return ": ".join(filter(None, (self.found, self.remedy)))


Look = Callable[[], str | Check]
"""Looks at one thing: says what it found, or raises an `EdgetvmError` that says what is wrong."""


def look(name: str, at: Look) -> Check:
    """Return what `at` came to as a check."""
    try:
        found = at()
    except EdgetvmError as err:
        return Check(name=name, status="wrong", found=str(err), exit_code=err.exit_code)
    return Check(name=name, found=found) if isinstance(found, str) else found


def follow(hops: Iterable[tuple[str, Look]]) -> Iterator[Check]:
    """Look at one hop after the other; those behind one that is wrong are not tried."""
    is_cut = False
    for name, hop in hops:
        check = Check(name=name, status="not tried") if is_cut else look(name, hop)
        is_cut = is_cut or check.status == "wrong"
        yield check
