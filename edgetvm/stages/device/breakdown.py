"""Where the time of a network goes: operators with a task, layout transforms, and the rest.

A task is tuned alone, again and again, with its data in the cache. In the network its weights and
inputs come from memory, and operators run that have no task. So the sum of the tasks' best times
is not the network's latency; the breakdown says what lies between.
"""

from collections.abc import Mapping
from pathlib import Path
from statistics import median

from edgetvm.latency_breakdown import LatencyBreakdown
from edgetvm.stages.build.network_build import NetworkBuild
from edgetvm.stages.device.library import SESSION_TIMEOUT_S, RemoteLibrary
from edgetvm.stages.device.operators import time_operators
from edgetvm.stages.device.session import Address, DeviceSession
from edgetvm.stages.device.timing import Contender, time_interleaved

ROUNDS = 15
"""Samples of each library."""


def break_down(
    address: Address, build: NetworkBuild, tuned: Path, *, flushed: bool = False
) -> LatencyBreakdown:
    """Time the libraries in turn on the device at `address`, and the tuned one's operators.

    Parameters
    ----------
    flushed : whether the tasks' best times were measured with a flushed cache.

    Raises
    ------
    DeviceError
        The device is lost.
    """
    libraries = {"untuned": build.untuned_library(), "tuned": tuned}
    medians_s = library_medians_s(address, build, libraries)
    operators = operator_times_s(address, build, tuned)
    tasks_s = task_operators_s(build, operators)
    transforms_s = [s for name, s in operators if name.endswith("fused_layout_transform")]
    return LatencyBreakdown(
        estimate_s=build.estimate_s,
        estimate_flushed=flushed,
        task_operators_s=sum(tasks_s),
        layout_transforms=len(transforms_s),
        layout_transforms_s=sum(transforms_s),
        other_operators=len(operators) - len(tasks_s) - len(transforms_s),
        other_operators_s=sum(s for _, s in operators) - sum(tasks_s) - sum(transforms_s),
        tuned_s=medians_s["tuned"],
        untuned_s=medians_s["untuned"],
    )


def task_operators_s(build: NetworkBuild, operators: list[tuple[str, float]]) -> list[float]:
    """Return the seconds of those of `operators` that have a task, in order."""
    anchors = {f"_{task.name.partition(' ')[0]}" for task in build.tasks}
    return [s for name, s in operators if any(anchor in name for anchor in anchors)]


def library_medians_s(
    address: Address, build: NetworkBuild, libraries: Mapping[str, Path]
) -> dict[str, float]:
    """Time libraries of different file names in turn; return the median seconds of each."""
    session = DeviceSession(address, build.threads, SESSION_TIMEOUT_S)
    contenders = {}
    for name, path in libraries.items():
        library = RemoteLibrary(session, path, build.network.input_name)
        library.run(build.golden_input)
        contenders[name] = Contender.of_library(library)
    timed = time_interleaved(contenders, ROUNDS)
    return {name: median(samples.samples_s) for name, samples in timed.items()}


def operator_times_s(
    address: Address, build: NetworkBuild, library: Path
) -> list[tuple[str, float]]:
    """Return the name and the median seconds of each operator of `library`, in order.

    In a session of its own: a library that is sent twice would be overwritten while it runs.
    """
    session = DeviceSession(address, build.threads, SESSION_TIMEOUT_S)
    return time_operators(session, library, build.network.input_name, build.golden_input)
