"""The store of tuning records: one file a target and thread count, shared by all its models.

``tuning_logs/<target>/threads_<n>.json`` holds TVM's own record lines, so that stock
``auto_scheduler.ApplyHistoryBest`` reads it; ``threads_<n>.meta.json`` beside it says what they
were measured with. A line is appended in one write as soon as its trial is over. An interrupted
write leaves a last line without a newline: that piece is moved to ``.rejected`` when the store is
opened next. Any other line that cannot be read is an error, because records were edited or mixed.
"""

import json
import os
from pathlib import Path

import msgspec

from edgetvm.errors import RecordError
from edgetvm.files import read_json, replacing, write_json
from edgetvm.measurement import DeviceInfo

SCHEMA_VERSION = 1


class Machine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A machine that contributed records; no name, so that stores can be shared."""

    cpu: str
    arch: str
    cores: int
    libc: str


class Provenance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the records of a store have in common, and the machines they come from."""

    schema_version: int = SCHEMA_VERSION
    tvm_version: str
    tvm_target: str
    threads: int
    machines: tuple[Machine, ...]


class RecordStore:
    """The records of one target at one thread count.

    Parameters
    ----------
    folder : ``tuning_logs/<target>``.
    threads : threads that the records were measured with.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        self.path = folder / f"threads_{threads}.json"
        self.meta_path = folder / f"threads_{threads}.meta.json"
        self.rejected_path = folder / f"threads_{threads}.rejected"
        self.threads = threads

    def open(self, tvm_target: str, tvm_version: str, *, drop_bad: bool = False) -> list[str]:
        """Mend what an interrupted write left, check the store, and return its lines.

        Parameters
        ----------
        tvm_target, tvm_version : what this run uses.
        drop_bad : move unreadable lines to ``.rejected`` instead of raising.

        Raises
        ------
        RecordError
            As :meth:`read_lines` and :meth:`check_provenance`.
        """
        self.check_provenance(tvm_target, tvm_version)
        self.reject_interrupted_write()
        if drop_bad:
            self.reject_bad_lines()
        return self.read_lines()

    def read_lines(self) -> list[str]:
        """Return all record lines.

        Raises
        ------
        RecordError
            A complete line is no record; the message names it and the remedy.
        """
        if not self.path.exists():
            return []
        lines = self.path.read_text().splitlines()
        for number, line in enumerate(lines, start=1):
            if not _is_record(line):
                raise RecordError(
                    f"{self.path}, line {number} is not a whole tuning record. Run the command "
                    f"again with --drop-bad-records to move it to {self.rejected_path.name} and "
                    "keep all others."
                )
        return lines

    def check_provenance(self, tvm_target: str, tvm_version: str) -> None:
        """Make sure that the store's records were made for this target with this TVM.

        Raises
        ------
        RecordError
            They were not; they would be applied to the wrong schedules or silently to none.
        """
        if not self.meta_path.exists():
            return
        meta = read_json(self.meta_path, Provenance)
        for what, theirs, ours in (
            ("TVM target", meta.tvm_target, tvm_target),
            ("TVM version", meta.tvm_version, tvm_version),
        ):
            if theirs != ours:
                raise RecordError(
                    f"{self.meta_path}: the records were made with {what} {theirs!r}, this is "
                    f"{ours!r}. Move {self.path.parent} away to start a new store, or undo the "
                    "change."
                )

    def write_provenance(self, tvm_target: str, tvm_version: str, device: DeviceInfo) -> None:
        """Add the machine behind `device` to the sidecar, writing it if there is none."""
        machine = Machine(cpu=device.cpu, arch=device.arch, cores=device.cores, libc=device.libc)
        known: tuple[Machine, ...] = ()
        if self.meta_path.exists():
            known = read_json(self.meta_path, Provenance).machines
        if machine not in known:
            known = (*known, machine)
        meta = Provenance(
            tvm_version=tvm_version, tvm_target=tvm_target, threads=self.threads, machines=known
        )
        write_json(self.meta_path, meta)

    def append(self, line: str) -> None:
        """Append one record, on disk before this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, f"{line.strip()}\n".encode())
            os.fsync(handle)
        finally:
            os.close(handle)

    def reject_interrupted_write(self) -> bool:
        """Move a last line without a newline to ``.rejected``; say whether there was one."""
        content = self.path.read_bytes() if self.path.exists() else b""
        whole, newline, piece = content.rpartition(b"\n")
        if not piece:
            return False
        self._rewrite(whole + newline, piece + b"\n")
        return True

    def reject_bad_lines(self) -> int:
        """Move every line that is no record to ``.rejected``; return how many."""
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        bad = [line for line in lines if not _is_record(line)]
        if bad:
            good = [line for line in lines if _is_record(line)]
            self._rewrite(_joined(good), _joined(bad))
        return len(bad)

    def _rewrite(self, keep: bytes, reject: bytes) -> None:
        with self.rejected_path.open("ab") as file:
            file.write(reject)
        with replacing(self.path) as temporary:
            temporary.write_bytes(keep)


def lines_of_other_stores(tuning_logs: Path, own: RecordStore) -> list[list[str]]:
    """Return the record lines of every other store: of other targets and thread counts.

    Their times mean nothing here, but their schedules are good guesses. Lines that cannot be
    read are passed over, since these stores are not the ones at work.
    """
    paths = sorted(tuning_logs.glob("*/threads_*[0-9].json"))
    contents = (path.read_text().splitlines() for path in paths if path != own.path)
    return [[line for line in lines if _is_record(line)] for lines in contents]


def _joined(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _is_record(line: str) -> bool:
    """Whether `line` has the outer form of a record: its input, its result and its version."""
    try:
        record = json.loads(line)
        return isinstance(record["r"][1], int) and isinstance(record["i"][0][0], str)
    except (ValueError, KeyError, IndexError, TypeError):
        return False
