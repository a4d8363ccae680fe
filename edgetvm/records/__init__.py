"""The database of tuning records: one store a target, shared by all its models.

Below ``tuning_logs/<target>``:

``threads_<n>.json``
    TVM's own record lines, so that stock ``auto_scheduler.ApplyHistoryBest`` reads it.
``threads_<n>.meta.json``
    What they were measured with.
``threads_<n>.choices.json``
    Which of a workload's best schedules was the fastest within a network.
``metaschedule_threads_<n>.json``, ``metaschedule_threads_<n>_workloads.json``
    MetaSchedule's records and what they stand for, as its own ``JSONDatabase`` reads them.
``workloads.jsonl``
    The definition of each workload, without which a record, which names its workload by a hash,
    can be rebuilt beside its network only. The same for every number of threads.

``<target>.flushed`` has the same of candidates that were measured with a flushed cache.

Nothing here imports TVM.
"""

from edgetvm.records.metaschedule_store import MetaScheduleStore
from edgetvm.records.store import RecordStore, lines_of_other_stores, store_folder
from edgetvm.records.tuner_stores import TunerStores
from edgetvm.records.workload_file import Workload, WorkloadFile

__all__ = [
    "MetaScheduleStore",
    "RecordStore",
    "TunerStores",
    "Workload",
    "WorkloadFile",
    "lines_of_other_stores",
    "store_folder",
]
