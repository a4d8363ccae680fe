"""Records from another person's store into one's own."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from edgetvm.errors import RecordError, UsageError
from edgetvm.files import read_json
from edgetvm.records.compaction import distinct
from edgetvm.records.line import RecordLine, is_record, parse_line
from edgetvm.records.line_file import LineFile
from edgetvm.records.provenance import Provenance
from edgetvm.records.store import RecordStore, is_modelled
from edgetvm.records.workload_file import Workload, WorkloadFile

_REMEDY = "Delete that line there, or ask for the whole file."


class ForeignRecords(msgspec.Struct, frozen=True, kw_only=True):
    """A record file that is not of this project, and what lies beside it.

    Attributes
    ----------
    path : the record file.
    lines : its records.
    provenance : of ``<stem>.meta.json``; None if there is none.
    workloads : of ``workloads.jsonl``, those that the records name.
    """

    path: Path
    lines: list[str]
    provenance: Provenance | None
    workloads: list[Workload]

    @property
    def threads(self) -> int:
        """Threads that the first record was measured with."""
        return parse_line(self.lines[0]).threads

    def check_origin(self, store: RecordStore, target: str, tvm_version: str) -> None:
        """Make sure that all was measured as in `store`, for a target and with one TVM version.

        Parameters
        ----------
        target : TVM's long form of the target string.

        Raises
        ------
        RecordError
            A record was not; its time would mean something else.
        """
        self._check_kind(store)
        meta = self.provenance
        if meta is not None and meta.tvm_version != tvm_version:
            raise RecordError(
                f"{self.path} was measured with TVM {meta.tvm_version}, this is {tvm_version}: "
                "records of another version cannot be merged."
            )
        for number, line in enumerate(self.lines, start=1):
            record = parse_line(line)
            for what, theirs, ours in (
                ("target", record.target, target),
                ("number of threads", record.threads, store.threads),
            ):
                if theirs != ours:
                    raise RecordError(
                        f"{self.path}, line {number}: its {what} is {theirs!r}, the store's "
                        f"{ours!r}. Name the store it belongs to with --target and --threads."
                    )

    def _check_kind(self, store: RecordStore) -> None:
        """Make sure that estimates of a cycle model are not merged with measurements.

        Raises
        ------
        RecordError
            The one file has estimates, the other measurements.
        """
        modelled = self.provenance is not None and self.provenance.modelled
        if modelled != is_modelled(store):
            theirs, ours = ("estimates", "measured") if modelled else ("measured", "estimates")
            raise RecordError(
                f"{self.path}: its times are {theirs}, those of {store.path} are {ours}, and the "
                "two are never mixed. Tuning takes schedules over from either by itself."
            )


class MergeCount(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a merge: records, and workloads whose best time it lowers or brings."""

    new: int
    known: int
    better: int


def read_foreign(path: Path) -> ForeignRecords:
    """Read another person's record file.

    Raises
    ------
    UsageError
        There is no such file, it is empty, or its ``.meta.json`` is faulty.
    RecordError
        A line of it, or of the definitions beside it, cannot be read.
    """
    if not path.is_file():
        raise UsageError(f"{path} is no file of tuning records.")
    lines = LineFile(path, is_record, "tuning record", _REMEDY).read()
    if not lines:
        raise UsageError(f"{path} holds no tuning records.")
    sidecar = path.with_suffix(".meta.json")
    keys = {parse_line(line).workload_key for line in lines}
    workloads = WorkloadFile(path.parent, _REMEDY).read().values()
    return ForeignRecords(
        path=path,
        lines=lines,
        provenance=read_json(sidecar, Provenance) if sidecar.exists() else None,
        workloads=[workload for workload in workloads if workload.key in keys],
    )


def merge_into(
    store: RecordStore, foreign: ForeignRecords, tvm_target: str, tvm_version: str
) -> MergeCount:
    """Add what is new in `foreign` to `store`: definitions, machines, and last the records.

    Parameters
    ----------
    tvm_target, tvm_version : of the store.

    Raises
    ------
    RecordError
        A file of the store cannot be read or written.
    """
    counts: list[MergeCount] = []

    def take_over(lines: list[str]) -> list[str]:
        together, count = merge(lines, foreign.lines)
        counts.append(count)
        return together

    store.workloads.add(foreign.workloads)
    machines = foreign.provenance.machines if foreign.provenance else ()
    store.add_machines(tvm_target, tvm_version, machines)
    store.edit(take_over)
    return counts[0]


def merge(own: list[str], theirs: list[str]) -> tuple[list[str], MergeCount]:
    """Return `own` lines with those of `theirs` behind that are new, and how many are what.

    A record of a known schedule is not taken, whatever its time: ours was measured here.
    """
    ours = [parse_line(line) for line in own]
    known = {record.identity for record in ours}
    others = distinct(map(parse_line, theirs))
    new = [record for record in others if record.identity not in known]
    before, after = _best_s(ours), _best_s([*ours, *new])
    count = MergeCount(
        new=len(new),
        known=len(theirs) - len(new),
        better=sum(best_s < before.get(key, float("inf")) for key, best_s in after.items()),
    )
    return [*own, *(record.text for record in new)], count


def _best_s(records: Iterable[RecordLine]) -> dict[str, float]:
    best: dict[str, float] = {}
    for record in records:
        known_s = best.get(record.workload_key, float("inf"))
        if record.seconds is not None and record.seconds < known_s:
            best[record.workload_key] = record.seconds
    return best
