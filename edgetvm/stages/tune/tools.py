"""What a tuning run works with: searches, a builder of candidates, a device that times them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from edgetvm.stages.tune.candidate_build import BuiltCandidate, Candidate
from edgetvm.stages.tune.candidate_timing import Outcome


class Search(Protocol):
    """One tuner's search over all tasks of a network, with its cost model and its records.

    A task is known by its place among the network's tasks.
    """

    def take_up(self) -> list[tuple[int, float | None]]:
        """Take up the records of earlier runs; return task and seconds of each, None if failed."""

    def propose(self, place: int, count: int) -> list[Any]:
        """Return up to `count` candidates that were not measured yet, most promising first."""

    def note(self, place: int, candidate: Any, outcome: Outcome) -> None:
        """Remember a trial; its record is on disk when this returns."""

    def learn(self, place: int) -> None:
        """Let the cost model learn from the round just over."""

    def save(self) -> None:
        """Keep the cost model for the next run."""


class Builder(Protocol):
    """Builds candidates; see :class:`edgetvm.stages.tune.candidate_build.CandidateBuilder`."""

    def start(self, candidates: Sequence[Candidate]) -> Future[list[BuiltCandidate]]:
        """Begin to build all `candidates`; the outcomes come in the same order."""

    @property
    def has_own_core(self) -> bool:
        """Whether building disturbs no measurement."""


class Timer(Protocol):
    """Times candidates; see :class:`edgetvm.stages.tune.candidate_timing.CandidateTimer`."""

    def time(self, candidates: list[BuiltCandidate], best_s: float | None) -> Iterator[Outcome]:
        """Yield costs in seconds, error number and error of each candidate."""


@dataclass(frozen=True)
class Tools:
    """What candidates are built and timed with."""

    builder: Builder
    timer: Timer
