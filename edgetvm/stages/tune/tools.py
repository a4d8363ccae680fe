"""What a tuning run works with: a builder of candidates, a device that times them, a store."""

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from tvm import auto_scheduler

from edgetvm.records import RecordStore
from edgetvm.stages.tune.candidate_build import BuiltCandidate


class Builder(Protocol):
    """Builds candidates; see :class:`edgetvm.stages.tune.candidate_build.CandidateBuilder`."""

    def start(self, inputs: list[auto_scheduler.MeasureInput]) -> Future[list[BuiltCandidate]]:
        """Begin to build all `inputs`; the outcomes come in the same order."""

    @property
    def has_own_core(self) -> bool:
        """Whether building disturbs no measurement."""


class Timer(Protocol):
    """Times candidates; see :class:`edgetvm.stages.tune.candidate_timing.CandidateTimer`."""

    def time(
        self, candidates: list[BuiltCandidate], best_s: float | None
    ) -> Iterator[tuple[list[float], int, str]]:
        """Yield costs in seconds, error number and error of each candidate."""


@dataclass(frozen=True)
class Tools:
    """What a run works with.

    Attributes
    ----------
    store : every finished trial is on disk there before the next begins.
    """

    builder: Builder
    timer: Timer
    store: RecordStore
