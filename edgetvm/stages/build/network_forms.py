"""The forms that a network can take, and which of them its records say is the fastest.

A 3x3 convolution is computed directly or by Winograd's algorithm. Which is faster depends on its
shape, on the CPU's caches and on its threads, so both forms are tuned and the records decide.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import tvm
from tvm import relay

from edgetvm.stages.build.tasks import (
    NetworkTask,
    extract_tasks,
    fused_calls,
    workload_key,
)
from edgetvm.stages.export.winograd import WinogradForm, compute_by_winograd
from edgetvm.target_profile import TargetProfile


@dataclass(frozen=True)
class NetworkForm:
    """One form: the fused program, and its tasks in the order of first use."""

    fused: tvm.IRModule
    tasks: list[NetworkTask]


@dataclass(frozen=True)
class Alternative:
    """A task of the direct form and what computes the same by Winograd's algorithm.

    Attributes
    ----------
    count : how often the direct form runs the task.
    direct, winograd : keys of the workload and of those that replace it.
    calls : of the function, in the direct form, with the form that each could take.
    """

    count: int
    direct: str
    winograd: tuple[str, ...]
    calls: dict[relay.Call, WinogradForm]

    def is_faster(self, best_s: Mapping[str, float]) -> bool:
        """Say whether Winograd's is faster by the best times of workloads.

        What has no time yet is not faster.
        """
        if not all(key in best_s for key in self.winograd):
            return False
        return sum(best_s[key] for key in self.winograd) < best_s.get(self.direct, math.inf)


class NetworkForms:
    """All forms of a network on a target.

    Parameters
    ----------
    fused : the direct form, from
        :func:`edgetvm.stages.export.optimise.fuse_for_auto_scheduler`.

    Attributes
    ----------
    tasks : of all forms; those that the direct one has not have a count of 0.
    """

    def __init__(self, fused: tvm.IRModule, profile: TargetProfile, threads: int) -> None:
        self._profile = profile
        self._threads = threads
        self.direct = NetworkForm(fused, extract_tasks(fused, profile, threads))
        by_key = {task.workload_key: task for task in self.direct.tasks}
        self._alternatives: list[Alternative] = []
        if tvm.target.Target(profile.tvm_target).kind.name == "llvm":
            self._alternatives = list(self._find_alternatives(by_key))
        self.tasks = list(by_key.values())

    def uses(self, best_s: Mapping[str, float]) -> Mapping[str, int]:
        """Say how often the fastest form runs each workload, by their best times in seconds."""
        counts = Counter({task.workload_key: task.count for task in self.direct.tasks})
        for one in self._faster(best_s):
            counts[one.direct] = 0
            counts.update(dict.fromkeys(one.winograd, one.count))
        return counts

    def fastest(self, best_s: Mapping[str, float]) -> NetworkForm:
        """Return the fastest form by the best times of workloads, seconds by key."""
        forms = {call: form for one in self._faster(best_s) for call, form in one.calls.items()}
        if not forms:
            return self.direct
        fused = compute_by_winograd(self.direct.fused, forms.get)
        return NetworkForm(fused, extract_tasks(fused, self._profile, self._threads))

    def _faster(self, best_s: Mapping[str, float]) -> list[Alternative]:
        return [one for one in self._alternatives if one.is_faster(best_s)]

    def _find_alternatives(self, by_key: dict[str, NetworkTask]) -> Iterator[Alternative]:
        """Yield the alternatives; their tasks are added to `by_key`."""
        calls: dict[str, dict[relay.Call, WinogradForm]] = defaultdict(dict)
        for call in fused_calls(self.direct.fused):
            form = WinogradForm.of(call.op)
            if form is not None and isinstance(call.args[form.weight], relay.Constant):
                key = workload_key(call.op, self._profile.tvm_target)
                assert key is not None, "a convolution has a task"
                calls[key][call] = form
        for direct, forms in calls.items():
            form = next(iter(forms.values()))
            fused = tvm.IRModule.from_expr(form.function)
            tasks = extract_tasks(fused, self._profile, self._threads)
            for task in tasks:
                by_key.setdefault(task.workload_key, replace(task, count=0))
            keys = tuple(task.workload_key for task in tasks)
            yield Alternative(by_key[direct].count, direct, keys, forms)
