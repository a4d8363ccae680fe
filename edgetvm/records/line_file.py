"""A file of lines that several processes append to and rewrite at the same time.

Whoever writes holds the lock of the file's folder, ``store.lock``; the kernel frees it when its
holder dies. A line is on disk when its append returns. An interrupted append leaves a last line
without a newline; the next writer moves that piece to ``.rejected``, so that no line is ever
glued to it. A rewriting takes the old file's place in one step. Readers need no lock: what they
see is whole but for a last piece, which they leave out.
"""

import fcntl
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from edgetvm.errors import RecordError
from edgetvm.files import replacing

LOCK = "store.lock"


def is_decodable(decoder: msgspec.json.Decoder[Any], text: str | msgspec.Raw) -> bool:
    """Whether `text` has the form that `decoder` reads."""
    try:
        decoder.decode(text)
    except (msgspec.DecodeError, UnicodeError):
        return False
    return True


class LineFile:
    """The file `path`, whose lines are all of one kind.

    Parameters
    ----------
    is_whole : says whether a line has the outer form of its kind.
    kind : the name of such a line in messages.
    remedy : what to do about one that is not whole.
    """

    def __init__(
        self, path: Path, is_whole: Callable[[str], bool], kind: str, remedy: str = ""
    ) -> None:
        self.path = path
        self.rejected_path = path.with_suffix(".rejected")
        self._is_whole = is_whole
        self._kind = kind
        self._remedy = remedy or (
            f"Move it to {self.rejected_path.name} and keep all others with "
            "python -m edgetvm.records drop --bad-lines, or --drop-bad-records of edgetvm.tune."
        )

    def read(self) -> list[str]:
        """Return all lines; a last one without a newline is left out.

        Raises
        ------
        RecordError
            A line is not of its kind; the message names it and the remedy.
        """
        lines = self._complete_lines()
        for number, line in enumerate(lines, start=1):
            if not self._is_whole(line):
                raise RecordError(
                    f"{self.path}, line {number} is not a whole {self._kind}. {self._remedy}"
                )
        return lines

    def append(self, lines: list[str]) -> None:
        """Append `lines`, on disk before this returns.

        Raises
        ------
        RecordError
            The file cannot be written, for instance because the disk is full.
        """
        with self.locked():
            self._mend()
            with self.path.open("ab") as file:
                file.write(_joined(lines))
                file.flush()
                os.fsync(file.fileno())

    def mend(self) -> bool:
        """Move a last line without a newline to ``.rejected``; say whether there was one.

        A line that another process is writing at this moment is waited for, not taken away.
        """
        if not self._piece():
            return False
        with self.locked():
            return self._mend()

    def reject_bad_lines(self) -> int:
        """Move every line that is not of its kind to ``.rejected``; return how many."""
        if all(map(self._is_whole, self._complete_lines())):
            return 0
        return self._edit(lambda: list(filter(self._is_whole, self._complete_lines())), reject=True)

    def edit(self, choose: Callable[[list[str]], list[str]], *, reject: bool = False) -> int:
        """Replace the lines by what `choose` makes of them, whole or not at all.

        Parameters
        ----------
        choose : runs under the lock, so what it is given is all that there is.
        reject : move lines that are gone to ``.rejected``.

        Returns
        -------
        How many lines are gone.

        Raises
        ------
        RecordError
            A line is not of its kind, or the file cannot be written.
        """
        return self._edit(lambda: choose(self.read()), reject)

    def _edit(self, choose: Callable[[], list[str]], reject: bool) -> int:
        with self.locked():
            self._mend()
            lines, kept = self._complete_lines(), choose()
            gone = list((Counter(lines) - Counter(kept)).elements())
            if kept != lines:
                self._rewrite(_joined(kept), _joined(gone) if reject else b"")
        return len(gone)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other writer of the folder's files away while the block lasts.

        Raises
        ------
        RecordError
            The folder or a file in it cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path.parent / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                yield
            finally:
                os.close(handle)
        except OSError as err:
            raise RecordError(
                f"{self.path} cannot be written: {err.strerror}. What was written before is kept; "
                "make room or set the permissions, and run the command again."
            ) from err

    def _complete_lines(self) -> list[str]:
        content = self.path.read_bytes() if self.path.exists() else b""
        return [line.decode(errors="surrogateescape") for line in content.split(b"\n")[:-1]]

    def _piece(self) -> bytes:
        """Return what follows the last newline."""
        if not self.path.exists():
            return b""
        with self.path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            if file.read(1) in (b"\n", b""):
                return b""
            file.seek(0)
            return file.read().rpartition(b"\n")[2]

    def _mend(self) -> bool:
        piece = self._piece()
        if piece:
            whole = self.path.read_bytes().removesuffix(piece)
            self._rewrite(whole, piece + b"\n")
        return bool(piece)

    def _rewrite(self, keep: bytes, reject: bytes) -> None:
        if reject:
            with self.rejected_path.open("ab") as file:
                file.write(reject)
        with replacing(self.path) as temporary:
            temporary.write_bytes(keep)


def _joined(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")
