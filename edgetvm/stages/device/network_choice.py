"""Which of a task's best schedules is the fastest within the network.

A task is tuned alone, again and again, with its data in the cache. Within the network its weights
come from memory and its input from where the operator before left it, on several threads in another
core's cache. Among schedules that are nearly equal alone that decides. So the network is built with
each task's best, with each task's second best and so on, the operators of all these libraries are
timed, and each task keeps what was the fastest in its place.
"""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgetvm.manifest import AUTO_SCHEDULER
from edgetvm.stages.build.network_build import NetworkBuild
from edgetvm.stages.build.records import Record, cost_s, digest, fastest_records
from edgetvm.stages.device.breakdown import (
    library_medians_s,
    operator_times_s,
    task_operators_s,
)
from edgetvm.stages.device.session import Address

RIVALS = 5
"""Schedules of each task that compete, and so libraries that are built."""

NEAR = 1.3
"""A schedule that is so many times slower than the best alone is no rival."""

PASSES = 2
"""Times that the operators of each library are timed, in turn; the least counts."""

LIBRARIES = RIVALS + 1
"""How many libraries :func:`choose_in_network` builds."""


def choose_in_network(
    address: Address, build: NetworkBuild, records: list[Record]
) -> Mapping[str, str]:
    """Return the digest of the schedule that is fastest in its place, by workload key.

    Empty if the network as a whole is not faster with them.

    Parameters
    ----------
    build : after :meth:`NetworkBuild.build_tuned`.
    records : AutoScheduler's, of the network's workloads.

    Raises
    ------
    DeviceError
        The device is lost.
    """
    ours = {task.workload_key for task in build.won_by(AUTO_SCHEDULER)}
    rivals = {k: _near(group) for k, group in fastest_records(records).items() if k in ours}
    if not rivals:
        return {}
    libraries = [
        build.build_with([group[min(rank, len(group) - 1)] for group in rivals.values()], name)
        for rank, name in enumerate(f"rival_{rank}.so" for rank in range(RIVALS))
    ]
    order = build.operator_tasks
    times_s = [_task_times_s(address, build, library, order) for library in libraries]
    for _ in range(PASSES - 1):
        again = [_task_times_s(address, build, library, order) for library in libraries]
        times_s = [
            {key: min(one[key], other[key]) for key in one}
            for one, other in zip(times_s, again, strict=True)
        ]
    chosen = {
        key: group[int(np.argmin([times_s[rank][key] for rank in range(len(group))]))]
        for key, group in rivals.items()
    }
    together = build.build_with(list(chosen.values()), "chosen.so")
    if not _is_faster(address, build, together, libraries[0]):
        return {}
    return {key: digest(record) for key, record in chosen.items()}


def _near(group: list[Record]) -> list[Record]:
    """Return the first few different schedules of a workload that are near to the best alone."""
    near: dict[str, Record] = {}
    best_s = cost_s(group[0][1]) or 0.0
    for record in group:
        if len(near) == RIVALS or (cost_s(record[1]) or 0.0) > NEAR * best_s:
            break
        near.setdefault(digest(record), record)
    return list(near.values())


def _task_times_s(
    address: Address, build: NetworkBuild, library: Path, order: list[str]
) -> dict[str, float]:
    """Return the seconds of all operators of each task within the library."""
    times_s = task_operators_s(build, operator_times_s(address, build, library))
    total_s: defaultdict[str, float] = defaultdict(float)
    for key, seconds in zip(order, times_s, strict=True):
        total_s[key] += seconds
    return total_s


def _is_faster(address: Address, build: NetworkBuild, library: Path, other: Path) -> bool:
    medians_s = library_medians_s(address, build, {path.name: path for path in (library, other)})
    return medians_s[library.name] < medians_s[other.name]
