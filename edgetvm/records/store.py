"""The store of tuning records: one file a target and thread count, shared by all its models.

``tuning_logs/<target>/threads_<n>.json`` holds TVM's own record lines, a line appended as soon as
its trial is over; ``threads_<n>.meta.json`` beside it says what they were measured with, and
``threads_<n>.choices.json`` which of a workload's best was the fastest within a network. A line
that cannot be read is an error, because records were edited or mixed; one that an interruption
left unfinished is set aside when the store is opened next.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from edgetvm.errors import RecordError, UsageError, did_you_mean
from edgetvm.files import read_json, write_json
from edgetvm.records.choices import ChoiceFile
from edgetvm.records.line import RecordLine, is_record, parse_line
from edgetvm.records.line_file import LineFile
from edgetvm.records.provenance import Machine, Provenance
from edgetvm.records.workload_file import WorkloadFile

if TYPE_CHECKING:  # it loads NumPy, which a store does without
    from edgetvm.device_info import DeviceInfo

FLUSHED, EMULATED, MODELLED = ".flushed", ".emulated", ".modelled"
"""Endings of the folders of :func:`store_folder`."""


class RecordStore:
    """The records of one target at one thread count.

    Parameters
    ----------
    folder : ``tuning_logs/<target>``.
    threads : threads that the records were measured with.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        self._lines = LineFile(folder / f"threads_{threads}.json", is_record, "tuning record")
        self.path = self._lines.path
        self.meta_path = folder / f"threads_{threads}.meta.json"
        self.choices = ChoiceFile(folder / f"threads_{threads}.choices.json", self._lines)
        self.rejected_path = self._lines.rejected_path
        self.threads = threads
        self.workloads = WorkloadFile(folder)

    def open(self, tvm_target: str, tvm_version: str, *, drop_bad: bool = False) -> list[str]:
        """Mend what an interrupted write left, check the store, and return its lines.

        Parameters
        ----------
        tvm_target, tvm_version : what this run uses.
        drop_bad : move unreadable lines to ``.rejected`` instead of raising.

        Raises
        ------
        RecordError
            As :meth:`read_lines` and :meth:`check_provenance`, and for the workload definitions.
        """
        self.check_provenance(tvm_target, tvm_version)
        self.reject_interrupted_write()
        if drop_bad:
            self.reject_bad_lines()
        self.workloads.open(drop_bad=drop_bad)
        return self.read_lines()

    def read_lines(self) -> list[str]:
        """Return all record lines.

        Raises
        ------
        RecordError
            A complete line is no record; the message names it and the remedy.
        """
        return self._lines.read()

    def read_records(self) -> list[RecordLine]:
        """Return what all record lines say; raises as :meth:`read_lines`."""
        return [parse_line(line) for line in self.read_lines()]

    def read_provenance(self) -> Provenance | None:
        """Return the sidecar, None if there is none yet."""
        return read_json(self.meta_path, Provenance) if self.meta_path.exists() else None

    def check_provenance(self, tvm_target: str, tvm_version: str) -> None:
        """Make sure that the store's records were made for this target with this TVM.

        Raises
        ------
        RecordError
            They were not; they would be applied to the wrong schedules or silently to none.
        """
        meta = self.read_provenance()
        if meta is None:
            return
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

    def write_provenance(self, tvm_target: str, tvm_version: str, device: "DeviceInfo") -> None:
        """Add the machine behind `device` to the sidecar, writing it if there is none."""
        machine = Machine(cpu=device.cpu, arch=device.arch, cores=device.cores, libc=device.libc)
        self.add_machines(tvm_target, tvm_version, (machine,))

    def add_machines(self, tvm_target: str, tvm_version: str, machines: Iterable[Machine]) -> None:
        """Add `machines` to the sidecar, writing it if there is none."""
        with self._lines.locked():
            meta = self.read_provenance()
            known = meta.machines if meta is not None else ()
            provenance = Provenance(
                tvm_version=tvm_version,
                tvm_target=tvm_target,
                threads=self.threads,
                machines=tuple(dict.fromkeys([*known, *machines])),
                modelled=is_modelled(self),
            )
            if provenance != meta:
                write_json(self.meta_path, provenance)

    def append(self, line: str) -> None:
        """Append one record, on disk before this returns.

        Raises
        ------
        RecordError
            The file cannot be written, for instance because the disk is full.
        """
        self._lines.append([line.strip()])

    def edit(self, choose: Callable[[list[str]], list[str]], *, reject: bool = False) -> int:
        """Rewrite the store as :meth:`edgetvm.records.line_file.LineFile.edit` does."""
        return self._lines.edit(choose, reject=reject)

    def reject_interrupted_write(self) -> bool:
        """Move a last line without a newline to ``.rejected``; say whether there was one."""
        return self._lines.mend()

    def reject_bad_lines(self) -> int:
        """Move every line that is no record to ``.rejected``; return how many."""
        return self._lines.reject_bad_lines()


def store_folder(
    tuning_logs: Path,
    target: str,
    *,
    flushed: bool = False,
    emulated: bool = False,
    modelled: bool = False,
) -> Path:
    """Return the folder of a target's stores.

    Parameters
    ----------
    flushed, emulated, modelled : the stores of candidates that were measured with a flushed cache
        or on an emulated board, or not measured but estimated by a cycle model; their times cannot
        be compared with the others.
    """
    marks = {EMULATED: emulated, MODELLED: modelled, FLUSHED: flushed}
    return tuning_logs / (target + "".join(mark for mark in marks if marks[mark]))


def target_of(folder: str) -> str:
    """Return the target that a folder of :func:`store_folder` is of, by the folder's name."""
    return folder.removesuffix(FLUSHED).removesuffix(MODELLED).removesuffix(EMULATED)


def is_emulated(store: RecordStore) -> bool:
    """Whether the times of a store are an emulator's, which say nothing of any device."""
    return EMULATED in store.path.parent.name


def is_modelled(store: RecordStore) -> bool:
    """Whether the times of a store are a cycle model's estimates, which nothing has measured."""
    return MODELLED in store.path.parent.name


def list_stores(tuning_logs: Path) -> list[RecordStore]:
    """Return all stores that have records, by target and threads."""
    places = [
        (path.parent, int(named.group(1)))
        for path in tuning_logs.glob("*/threads_*.json")
        if (named := re.fullmatch(r"threads_([1-9]\d*)", path.stem))
    ]
    return [RecordStore(folder, threads) for folder, threads in sorted(places)]


def stores_of(tuning_logs: Path, target: str) -> list[RecordStore]:
    """Return the stores of a target by threads.

    Raises
    ------
    UsageError
        There is none.
    """
    stores = list_stores(tuning_logs)
    own = [store for store in stores if store.path.parent.name == target]
    if not own:
        known = {store.path.parent.name for store in stores}
        raise UsageError(
            f"No tuning records of the target {target!r}: {did_you_mean(target, known)}"
        )
    return own


def find_store(tuning_logs: Path, target: str, threads: int | None) -> RecordStore:
    """Return the store of a target with `threads`, None for the only one.

    Raises
    ------
    UsageError
        There is none, or several and `threads` does not say which.
    """
    stores = {store.threads: store for store in stores_of(tuning_logs, target)}
    if threads is None and len(stores) == 1:
        (threads,) = stores
    if threads not in stores:
        there = ", ".join(map(str, stores))
        raise UsageError(
            f"{target} has records of these numbers of threads: {there}. Give one as --threads."
        )
    return stores[threads]


def lines_of_other_stores(tuning_logs: Path, own: RecordStore) -> list[list[str]]:
    """Return the record lines of every other store: of other targets and thread counts.

    Their times mean nothing here, but their schedules are good guesses, unless an emulator chose
    them. Lines that cannot be read are passed over, since these stores are not the ones at work.
    """
    others = [store for store in list_stores(tuning_logs) if store.path != own.path]
    paths = [store.path for store in others if not is_emulated(store)]
    contents = (path.read_text().splitlines() for path in paths)
    return [[line for line in lines if is_record(line)] for lines in contents]
