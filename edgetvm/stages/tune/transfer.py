"""Schedules move between workloads: the steps of one, with split factors fitted to another.

Workloads of one kind, all pointwise convolutions for instance, compute the same on other shapes,
and what is fast on one is a good guess for the next ("transfer-tuning", arXiv 2201.05587). Records
are read as text: a workload that TVM knows nothing of can still lend its schedule.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import msgspec
from tvm import TVMError, auto_scheduler, tir
from tvm.auto_scheduler.loop_state import State, StateObject

from edgetvm.records.line import parse_line

Step = list[Any]
"""One transform step, as TVM writes it: its kind, its stage, and what the kind needs."""


@dataclass(frozen=True)
class WorkloadKey:
    """AutoScheduler's key, taken apart.

    Attributes
    ----------
    kind : hash of the computation; workloads of one kind have the same stages.
    extents : numbers of the key, one after the other: the extents of all tensors.
    """

    kind: str
    extents: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> "WorkloadKey":
        """Read the key's JSON text."""
        kind, *shapes = msgspec.json.decode(text)
        extents = chain.from_iterable(s if isinstance(s, list) else [s] for s in shapes)
        return cls(str(kind), tuple(extents))

    def distance(self, other: "WorkloadKey") -> float:
        """Return how far apart the shapes are: the sum of the logarithms of their ratios."""
        pairs = zip(self.extents, other.extents, strict=True)
        return sum(abs(math.log(max(a, 1) / max(b, 1))) for a, b in pairs)


class KnownSchedules:
    """The fastest schedules of workloads, to be fitted to others of their kind."""

    def __init__(self) -> None:
        self._best: dict[str, dict[WorkloadKey, tuple[float, list[Step]]]] = defaultdict(dict)

    def learn(self, lines: Iterable[str]) -> None:
        """Keep the best schedule of each workload in `lines`, which are record lines."""
        for record in map(parse_line, lines):
            if record.seconds is None:
                continue
            key = WorkloadKey.parse(record.workload_key)
            known = self._best[key.kind].get(key)
            if known is None or record.seconds < known[0]:
                _, steps = msgspec.json.decode(record.schedule)
                self._best[key.kind][key] = record.seconds, steps

    def fitted(self, task: auto_scheduler.SearchTask) -> Iterator[StateObject]:
        """Yield schedules for `task`, those of the most similar workloads first."""
        key = WorkloadKey.parse(str(task.workload_key))
        known = self._best.get(key.kind, {})
        for other in sorted(known, key=key.distance):
            state = fit(known[other][1], task.compute_dag)
            if state is not None:
                yield state


def fit(steps: Iterable[Step], dag: auto_scheduler.ComputeDAG) -> StateObject | None:
    """Replay `steps` on `dag`, each split with the factors nearest to its own that divide.

    None if a step cannot be applied.
    """
    state = dag.get_init_state()
    try:
        for step in steps:
            _replay(state, step)
        return dag.infer_bound_from_state(state).state_object
    except (TVMError, IndexError, KeyError, ValueError):
        return None


def _replay(state: State, step: Step) -> None:
    kind, stage, *rest = step
    _REPLAYS[kind](state, stage, list(state.stages[stage].iters), *rest)


def _split(state: State, stage: int, iterators: list[Any], place: int, *rest: Any) -> None:
    _, lengths, inner_to_outer = rest
    extent = iterators[place].range.extent if iterators[place].range else None
    fitted = _fit_lengths(lengths, int(extent)) if isinstance(extent, tir.IntImm) else lengths
    state.split(stage, iterators[place], fitted, bool(inner_to_outer))


def _fit_lengths(lengths: list[int], extent: int) -> list[int]:
    """Return, for each inner part, the largest divisor of what is left up to its old length.

    The innermost part is fitted first: it is the one that fills the registers.
    """
    fitted = []
    for length in reversed(lengths):
        part = next(d for d in range(min(length, extent), 0, -1) if extent % d == 0)
        fitted.append(part)
        extent //= part
    return fitted[::-1]


_ANNOTATIONS = {1: State.unroll, 2: State.vectorize, 3: State.parallel}
_THREADS = ("vthread", *(f"{kind}Idx.{axis}" for axis in "xyz" for kind in ("block", "thread")))
"""TVM's numbers of what a loop is annotated with; those of a GPU's threads begin with 4."""


def _annotate(state: State, stage: int, iterators: list[Any], place: int, kind: int) -> None:
    if kind in _ANNOTATIONS:
        _ANNOTATIONS[kind](state, stage, iterators[place])
    else:
        state.bind(stage, iterators[place], _THREADS[kind - 4])


_REPLAYS: dict[str, Callable[..., object]] = {
    "AN": _annotate,
    "CA": lambda state, stage, _, target, place: state.compute_at(
        stage, target, state.stages[target].iters[place]
    ),
    "CHR": lambda state, stage, _, scope, readers: state.cache_read(stage, scope, readers),
    "CHW": lambda state, stage, _, scope: state.cache_write(stage, scope),
    "CI": lambda state, stage, _: state.compute_inline(stage),
    "CR": lambda state, stage, _: state.compute_root(stage),
    "FFSP": lambda state, stage, its, place, sources, level, factor: state.follow_fused_split(
        stage, its[place], sources, level, bool(factor)
    ),
    "FSP": lambda state, stage, its, place, source, parts: state.follow_split(
        stage, its[place], source, parts
    ),
    "FU": lambda state, stage, its, places: state.fuse(stage, [its[place] for place in places]),
    "PR": lambda state, stage, its, place, pragma: state.pragma(stage, its[place], pragma),
    "RE": lambda state, stage, its, places: state.reorder(stage, [its[place] for place in places]),
    "RF": lambda state, stage, its, place, factor: state.rfactor(stage, its[place], factor),
    "SP": _split,
}
"""How each kind of step is done again; TVM's names."""
