"""Every error that a user can cause or meet, with the exit code of its kind.

A message is one sentence or two: what is wrong, with the value and the place, and what to do.
Anything that is not an :class:`EdgetvmError` is a defect of edgetvm and keeps its traceback.
"""

import difflib
import re
from collections.abc import Iterable


class EdgetvmError(Exception):
    """Base of all errors that end a command with one message and no traceback."""

    exit_code = 1


class UsageError(EdgetvmError):
    """A wrong argument, name, recipe, profile or file given by the user."""

    exit_code = 2


class DeviceError(EdgetvmError):
    """The device cannot be reached, is the wrong one, or was lost."""

    exit_code = 3


class VersionError(DeviceError):
    """The device was reached, and runs another edgetvm or TVM."""


class CompileError(EdgetvmError):
    """A network cannot be exported, tuned or built."""

    exit_code = 4


class NumericsError(EdgetvmError):
    """A compiled library does not compute what the reference network computes."""

    exit_code = 5


class RecordError(EdgetvmError):
    """A file of tuning records cannot be read or does not fit the target."""

    exit_code = 6


INTERRUPTED_EXIT_CODE = 130
"""Exit code after Ctrl-C, as shells have it (128 + SIGINT)."""


_NAMES_IN_A_MESSAGE = 12


def one_line(error: BaseException, limit: int = 200) -> str:
    """Condense a foreign exception into its telling line, for use inside a message of ours.

    TVM puts its reason behind a C++ stack, most others put it first.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    reasons = [line for line in lines if re.match(r"\w*Error: ", line)]
    text = reasons[-1] if reasons else lines[0]
    return text if len(text) <= limit else text[: limit - 1] + "…"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the tail of a message on an unknown name: the nearest three, or all if none is near.

    Of many names the nearest three are all that a message can hold.
    """
    names = sorted(known)
    many = len(names) > _NAMES_IN_A_MESSAGE
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.0 if many else 0.5)
    if near:
        return f"did you mean {', '.join(near)}?"
    return f"known: {', '.join(names)}." if names else "none is known."
