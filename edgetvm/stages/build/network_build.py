"""One network on its way to a bundle: exported once, built untuned and tuned, packed."""

import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Self

import tvm

from edgetvm.latency_breakdown import LatencyBreakdown
from edgetvm.manifest import (
    AUTO_SCHEDULER,
    METASCHEDULE,
    TUNED_LIBRARY,
    TaskSummary,
)
from edgetvm.models.network import Network
from edgetvm.records.metaschedule_store import MetaScheduleRecord
from edgetvm.stages.build.interrupts import leave_interrupts_to_parent
from edgetvm.stages.build.library import (
    LibraryContents,
    build_tuned,
    build_untuned,
    load_compiler,
)
from edgetvm.stages.build.metaschedule_records import best_metaschedule, make_database
from edgetvm.stages.build.network_forms import NetworkForms
from edgetvm.stages.build.records import (
    Record,
    best_times,
    digest,
    fastest_records,
    only_chosen,
)
from edgetvm.stages.build.tasks import NetworkTask, fused_calls, workload_key
from edgetvm.stages.build.winners import Winner, choose_winners
from edgetvm.stages.export.counting import multiply_adds
from edgetvm.stages.export.optimise import fuse_for_auto_scheduler
from edgetvm.stages.export.relay_import import import_network
from edgetvm.target_profile import TargetProfile


class NetworkBuild:
    """Exports `network` and builds its libraries in a folder of their own; a context manager.

    Parameters
    ----------
    lowerings : of the profile, to choose the untuned library's from; None is its first one alone.

    Attributes
    ----------
    golden_input, golden_outputs : float32; the outputs are the reference's.
    forms : of the network, for AutoScheduler; the tuned library has the one that is fastest.
    untuned_error : relative, of the untuned library, once it was checked.
    lowering : whose default schedules the untuned library has, of those to choose from.
    relative_error, latency : of the tuned library, once it was checked and measured.
    multiply_adds : of one inference.
    contents : of the tuned library; None before it was built.
    known_records : that the tuned library's schedules were chosen from.
    seconds_to_build : that the last tuned library took; 0 before.

    The untuned library is built from the start, in a process of its own beside everything else.

    Raises
    ------
    CompileError
        The network cannot be exported; so do the building methods.
    """

    def __init__(
        self,
        network: Network,
        profile: TargetProfile,
        threads: int,
        lowerings: Collection[str] | None = None,
    ) -> None:
        self.network = network
        self.profile = profile
        self.threads = threads
        self.golden_input = network.golden_input()
        self.golden_outputs = network.reference_outputs(self.golden_input)
        self._target = tvm.target.Target(profile.tvm_target)
        self._folder = tempfile.TemporaryDirectory(prefix="edgetvm-build-")
        self._tuned_with: dict[str, Winner] = {}
        self._metaschedule: list[tuple[NetworkTask, MetaScheduleRecord]] = []
        self._records: list[Record] = []
        self.lowering = next(iter(profile.lowerings))
        self.untuned_error: float | None = None
        self.relative_error: float | None = None
        self.latency: LatencyBreakdown | None = None
        self.contents: LibraryContents | None = None
        self.known_records = 0
        self.seconds_to_build = 0.0
        self._worker = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=leave_interrupts_to_parent
        )
        self._worker.submit(load_compiler)
        relay = import_network(network)
        self.multiply_adds = multiply_adds(relay)
        relay_json = tvm.ir.save_json(relay)
        self._untuned = {
            lowering: self._worker.submit(
                build_untuned, relay_json, target, profile.link_triple, self._untuned_path(lowering)
            )
            for lowering, target in profile.lowerings.items()
            if lowering in (lowerings or (self.lowering,))
        }
        self.forms = NetworkForms(fuse_for_auto_scheduler(relay, self._target), profile, threads)
        self._form = self.forms.direct

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._worker.shutdown()
        self._folder.cleanup()

    @property
    def workload_keys(self) -> set[str]:
        """AutoScheduler's keys of the tasks of all forms."""
        return {task.workload_key for task in self.forms.tasks}

    @property
    def operator_tasks(self) -> list[str]:
        """Workload keys of the tuned library's operators that have a task, in order."""
        target = self.profile.tvm_target
        keys = (workload_key(call.op, target) for call in fused_calls(self._form.fused))
        return [key for key in keys if key is not None]

    @property
    def tasks(self) -> list[NetworkTask]:
        """The tasks of the tuned library's form; of the direct one before it is built."""
        return self._form.tasks

    @property
    def lowerings(self) -> tuple[str, ...]:
        """Those to choose the untuned library's from, the plain one first."""
        return tuple(self._untuned)

    def untuned_library(self, lowering: str | None = None) -> Path:
        """Wait for the library with TVM's default schedules, of the chosen lowering by default."""
        lowering = lowering or self.lowering
        self._untuned[lowering].result()
        return self._untuned_path(lowering)

    def build_tuned(
        self,
        records: list[Record],
        metaschedule: Sequence[MetaScheduleRecord] = (),
        choices: Mapping[str, str] = MappingProxyType({}),
    ) -> Path:
        """Build the library with the best of all records for each task.

        Without a single record it is the untuned library: AutoScheduler's NHWC form of a network is
        slow untuned.

        Parameters
        ----------
        records : AutoScheduler's.
        metaschedule : MetaSchedule's.
        choices : digests of schedules to take in place of AutoScheduler's best, by workload key.
        """
        library = self._path(TUNED_LIBRARY)
        fastest = best_metaschedule(metaschedule, self.forms.tasks)
        self._tuned_with = choose_winners(best_times(records), fastest)
        self._records = only_chosen(records, choices)
        self.known_records = len(records) + len(metaschedule)
        times = {key: winner.seconds for key, winner in self._tuned_with.items()}
        self._form = self.forms.fastest(times)
        if not self._tuned_with:
            self._copy_untuned()
            return library
        self._metaschedule = [(t, fastest[t.workload_key]) for t in self.won_by(METASCHEDULE)]
        return self.build_with(self._records)

    def build_with(self, records: list[Record], name: str = TUNED_LIBRARY) -> Path:
        """Build the library `name` of the form and the winners that :meth:`build_tuned` found.

        Parameters
        ----------
        records : AutoScheduler's, from which the best are taken for the tasks that it won.
        """
        library = self._path(name)
        ours = {task.workload_key for task in self.won_by(AUTO_SCHEDULER)}
        records = [record for record in records if record[0].task.workload_key in ours]
        database = make_database(self._metaschedule)
        triple = self.profile.link_triple
        started_s = time.monotonic()
        self.contents = build_tuned(
            self._form.fused, self._target, triple, library, records, database
        )
        self.seconds_to_build = time.monotonic() - started_s
        return library

    @property
    def tuned_library(self) -> Path:
        """The library that will be handed out."""
        return self._path(TUNED_LIBRARY)

    def won_by(self, tuner: str) -> list[NetworkTask]:
        """Return the tasks of the tuned library whose schedules are of `tuner`."""
        won = {key for key, winner in self._tuned_with.items() if winner.tuner == tuner}
        return [task for task in self.tasks if task.workload_key in won]

    @property
    def is_tuned(self) -> bool:
        """Whether the library to be handed out was built with records."""
        return bool(self._tuned_with)

    @property
    def estimate_s(self) -> float | None:
        """Sum of the tasks' best times, seconds; None while one of them has no record."""
        best = self._tuned_with
        if any(task.workload_key not in best for task in self.tasks):
            return None
        return sum(task.count * best[task.workload_key].seconds for task in self.tasks)

    def fall_back_to_untuned(self) -> None:
        """Hand out TVM's default schedules in place of the tuned library."""
        self._copy_untuned()
        self._tuned_with = {}
        self.relative_error = self.untuned_error

    def task_summaries(self) -> Iterable[TaskSummary]:
        """Say of each task what it is and how fast its best record was, and whose."""
        ours = {task.workload_key for task in self.won_by(AUTO_SCHEDULER)}
        fastest = fastest_records(self._records)
        digests = {key: digest(group[0]) for key, group in fastest.items() if key in ours}
        for task in self.tasks:
            winner = self._tuned_with.get(task.workload_key)
            yield TaskSummary(
                name=task.name,
                workload_key=task.workload_key,
                count=task.count,
                flop=task.flop,
                best_s=winner.seconds if winner else None,
                tuner=winner.tuner if winner else None,
                record=digests.get(task.workload_key),
            )

    def _copy_untuned(self) -> None:
        shutil.copyfile(self.untuned_library(), self.tuned_library)
        self.contents = self._untuned[self.lowering].result()

    def _untuned_path(self, lowering: str) -> Path:
        return self._path(f"untuned_{lowering}.so")

    def _path(self, name: str) -> Path:
        return Path(self._folder.name) / name
