"""Both tuners' records of one target at one thread count."""

from pathlib import Path
from typing import NamedTuple, Self

from edgetvm.records.metaschedule_store import MetaScheduleStore
from edgetvm.records.store import RecordStore


class TunerStores(NamedTuple):
    """The stores of one folder; the sidecar of AutoScheduler's holds for both."""

    auto_scheduler: RecordStore
    metaschedule: MetaScheduleStore

    @classmethod
    def of(cls, folder: Path, threads: int) -> Self:
        """Return the stores in `folder` of records measured with `threads` threads."""
        return cls(RecordStore(folder, threads), MetaScheduleStore(folder, threads))
