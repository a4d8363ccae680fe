"""What a store holds, workload by workload."""

from collections.abc import Iterable, Mapping

import msgspec

from edgetvm.records.line import RecordLine
from edgetvm.records.provenance import Machine
from edgetvm.records.store import RecordStore
from edgetvm.records.workload_file import Workload


class WorkloadSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The records of one workload.

    Attributes
    ----------
    key : the workload key.
    workload : its definition; None if the store has none.
    records, failed : how many there are, and how many of them are of failed trials.
    best : the fastest record; None if all failed.
    """

    key: str
    workload: Workload | None
    records: int
    failed: int
    best: RecordLine | None

    @property
    def description(self) -> str:
        """What it computes; without a definition the key, which begins with its hash."""
        return self.workload.description if self.workload else self.key

    @property
    def best_s(self) -> float | None:
        """The best time, seconds."""
        return self.best.seconds if self.best else None

    @property
    def flop_per_s(self) -> float | None:
        """The throughput of the best record; None if it or the number of operations is unknown."""
        if self.workload is None or self.best_s is None or self.workload.flop <= 0:
            return None
        return self.workload.flop / self.best_s

    def as_row(self) -> dict[str, object]:
        """Return what there is to say of it, for JSON; `record` is the fastest as TVM wrote it."""
        return {
            "workload_key": self.key,
            "description": self.description,
            "records": self.records,
            "failed": self.failed,
            "best_s": self.best_s,
            "flop_per_s": self.flop_per_s,
            "record": self.best and self.best.text,
        }


class StoreSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A store in numbers; `undefined` counts the workloads without a definition."""

    target: str
    threads: int
    workloads: int
    undefined: int
    records: int
    failed: int
    machines: tuple[Machine, ...]
    size_bytes: int


def by_workload(records: Iterable[RecordLine]) -> dict[str, list[RecordLine]]:
    """Group records by workload key, in the order of the first of each."""
    groups: dict[str, list[RecordLine]] = {}
    for record in records:
        groups.setdefault(record.workload_key, []).append(record)
    return groups


def fastest(records: Iterable[RecordLine]) -> list[RecordLine]:
    """Return the valid ones of `records`, the fastest first."""
    valid = [(record.seconds, record) for record in records if record.seconds is not None]
    return [record for _, record in sorted(valid, key=lambda entry: entry[0])]


def summarise_workloads(
    records: Iterable[RecordLine], workloads: Mapping[str, Workload]
) -> list[WorkloadSummary]:
    """Summarise records workload by workload, by description."""
    summaries = [
        WorkloadSummary(
            key=key,
            workload=workloads.get(key),
            records=len(group),
            failed=sum(record.seconds is None for record in group),
            best=next(iter(fastest(group)), None),
        )
        for key, group in by_workload(records).items()
    ]
    return sorted(summaries, key=lambda summary: (summary.workload is None, summary.description))


def summarise_store(store: RecordStore) -> StoreSummary:
    """Summarise a store.

    Raises
    ------
    RecordError
        One of its files cannot be read.
    """
    records = store.read_records()
    keys = {record.workload_key for record in records}
    provenance = store.read_provenance()
    return StoreSummary(
        target=store.path.parent.name,
        threads=store.threads,
        workloads=len(keys),
        undefined=len(keys - store.workloads.read().keys()),
        records=len(records),
        failed=sum(record.seconds is None for record in records),
        machines=provenance.machines if provenance else (),
        size_bytes=store.path.stat().st_size,
    )
