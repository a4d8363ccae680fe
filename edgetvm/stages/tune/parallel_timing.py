"""Timing of tuning candidates on several boards at a time."""

import math
import queue
import threading
from collections import deque
from collections.abc import Iterator

import tvm
from tvm.auto_scheduler.measure import MeasureErrorNo

from edgetvm.errors import DeviceError
from edgetvm.stages.device.fleet import Fleet
from edgetvm.stages.device.session import DeviceSession
from edgetvm.stages.tune.candidate_build import BuiltCandidate
from edgetvm.stages.tune.candidate_timing import (
    SESSION_TIMEOUT_S,
    TRIAL_TIMEOUT_S,
    Outcome,
    failure,
    is_lost,
    time_candidate,
)

KILLS = 2
"""A candidate that cost so many sessions is what is at fault, not the boards."""


class ParallelTimer:
    """Times candidates on the boards of `fleet`, a worker thread a board.

    A board that is lost is left out for a while and its candidate goes to another one; a candidate
    that loses two boards their sessions has failed.
    """

    def __init__(self, fleet: Fleet, threads: int, *, flush_cache: bool = False) -> None:
        self._fleet = fleet
        self._threads = threads
        self._flush_cache = flush_cache

    def time(self, candidates: list[BuiltCandidate], best_s: float | None) -> Iterator[Outcome]:
        """Yield costs in seconds, error number and error of each candidate, in order.

        Raises
        ------
        DeviceError
            No board is left.
        """
        work = _Round(candidates, best_s)
        try:
            while work.todo:
                left = len(work.todo)
                count = min(self._fleet.size, left)
                for _ in range(count):
                    threading.Thread(target=self._work, args=(work,), daemon=True).start()
                yield from work.outcomes(count)
                if len(work.todo) == left:
                    raise work.error or DeviceError("No board measured anything.")
        finally:
            work.todo.clear()
            for candidate in candidates:
                if candidate.library is not None:
                    candidate.library.unlink(missing_ok=True)

    def _work(self, work: "_Round") -> None:
        """Time candidates on one board after the other until none is left."""
        name, session = "", None
        try:
            while (place := work.take()) is not None:
                candidate = work.candidates[place]
                if candidate.library is None:
                    work.done(place, ([], candidate.error_no, candidate.error))
                    continue
                try:
                    if session is None:
                        timeout_s = SESSION_TIMEOUT_S + TRIAL_TIMEOUT_S * len(work.candidates)
                        name, session = self._fleet.open(self._threads, timeout_s)
                    self._time(work, place, session)
                    self._fleet.note_trial(name)
                except tvm.TVMError as err:
                    if session is not None:
                        session.end()
                    session = None
                    if is_lost(err):
                        self._fleet.leave_out(name)
                    work.failed(place, err)
        except DeviceError as err:
            work.give_up(place, err)
        else:
            work.give_up(None, None)

    def _time(self, work: "_Round", place: int, session: DeviceSession) -> None:
        candidate = work.candidates[place]
        costs = time_candidate(session, candidate, work.best_s, flush_cache=self._flush_cache)
        work.best_s = min([*costs, work.best_s or math.inf])
        work.done(place, (costs, MeasureErrorNo.NO_ERROR, ""))


class _Round:
    """The candidates of one round, shared by the workers."""

    def __init__(self, candidates: list[BuiltCandidate], best_s: float | None) -> None:
        self.candidates = candidates
        self.best_s = best_s
        self.todo = deque(range(len(candidates)))
        self.error: DeviceError | None = None
        self._kills = [0] * len(candidates)
        self._early: dict[int, Outcome] = {}
        self._next = 0
        self._reports: queue.Queue[tuple[int, Outcome] | DeviceError | None] = queue.Queue()

    def take(self) -> int | None:
        try:
            return self.todo.popleft()
        except IndexError:
            return None

    def done(self, place: int, outcome: Outcome) -> None:
        self._reports.put((place, outcome))

    def failed(self, place: int, err: tvm.TVMError) -> None:
        self._kills[place] += 1
        if is_lost(err) and self._kills[place] < KILLS:
            self.todo.appendleft(place)
            return
        self.done(place, failure(err))

    def give_up(self, place: int | None, err: DeviceError | None) -> None:
        """End a worker; what it could not measure is left to the others."""
        if place is not None:
            self.todo.appendleft(place)
        self._reports.put(err)

    def outcomes(self, workers: int) -> Iterator[Outcome]:
        """Yield outcomes in order, as they come in from so many workers, until all have ended."""
        while workers:
            report = self._reports.get()
            if not isinstance(report, tuple):
                workers -= 1
                self.error = report or self.error
                continue
            place, outcome = report
            self._early[place] = outcome
            while self._next in self._early:
                yield self._early.pop(self._next)
                self._next += 1
