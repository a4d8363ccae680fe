"""Timing of tuning candidates on a device, one session a round."""

import math
from collections.abc import Iterator
from statistics import median

import tvm
from tvm.auto_scheduler.measure import MeasureErrorNo

from edgetvm.errors import one_line
from edgetvm.stages.device.session import Address, DeviceSession
from edgetvm.stages.tune.candidate_build import BuiltCandidate

Outcome = tuple[list[float], int, str]
"""Costs of a trial in seconds, none if it failed; TVM's error number; the error."""

SESSION_TIMEOUT_S = 20.0
"""A session is this long plus `TRIAL_TIMEOUT_S` for each of its trials."""

TRIAL_TIMEOUT_S = 5.0
REPEATS = 3
MIN_REPEAT_S = 0.03
"""Shortest time over which one of the repeats is averaged."""

GLANCE_S = 0.003
"""Shortest time after which a candidate may be found hopeless."""

HOPELESS_FACTOR = 1.5
"""A candidate this many times slower than the best gets no more than a glance."""

SETTLED_S = 0.1
"""A first run as long as this is hardly longer than the others will be."""

FLUSHED_RUNS = 9
"""Runs of which the median is taken if the cache is flushed before each."""

LONG_S = 1.0
"""A candidate that runs as long as this is run once: six times over it may outlast its session."""


class CandidateTimer:
    """Times candidates on the device at `address` with `threads` threads.

    Parameters
    ----------
    flush_cache : throw all arguments but the first, which are weights and the output, out of the
        device's caches before each run. Else they stay there, as far as they fit.

    A candidate that crashes or hangs costs its session, not the round: the rest goes on in a new
    one.
    """

    def __init__(self, address: Address, threads: int, *, flush_cache: bool = False) -> None:
        self._address = address
        self._threads = threads
        self._flush_cache = flush_cache

    def time(self, candidates: list[BuiltCandidate], best_s: float | None) -> Iterator[Outcome]:
        """Yield costs in seconds, error number and error of each candidate, as each is done.

        Raises
        ------
        DeviceError
            The device is lost: no session can be opened any more.
        """
        session: DeviceSession | None = None
        for place, candidate in enumerate(candidates):
            if candidate.library is None:
                yield [], candidate.error_no, candidate.error
                continue
            if session is None:
                left = len(candidates) - place
                timeout_s = SESSION_TIMEOUT_S + TRIAL_TIMEOUT_S * left
                session = DeviceSession(self._address, self._threads, timeout_s)
            try:
                costs = time_candidate(session, candidate, best_s, flush_cache=self._flush_cache)
                best_s = min([*costs, best_s or math.inf])
                yield costs, MeasureErrorNo.NO_ERROR, ""
            except tvm.TVMError as err:
                session.end()
                session = None
                yield failure(err)
            finally:
                candidate.library.unlink(missing_ok=True)


def is_lost(err: tvm.TVMError) -> bool:
    """Whether an error says that the session is gone, not just that the candidate failed in it."""
    return "kShutdown" in str(err) or "Timeout" in str(err)


def failure(err: tvm.TVMError) -> Outcome:
    """Return the outcome of a candidate that failed with `err`."""
    kind = MeasureErrorNo.RUN_TIMEOUT if is_lost(err) else MeasureErrorNo.RUNTIME_DEVICE
    return [], kind, one_line(err)


def time_candidate(
    session: DeviceSession, candidate: BuiltCandidate, best_s: float | None, *, flush_cache: bool
) -> list[float]:
    """Return the costs of a candidate in seconds: one of a glance, or three of a proper look.

    Raises
    ------
    TVMError
        It cannot be loaded or run, or took its session along.
    """
    assert candidate.library is not None
    module = session.load_library(candidate.library)
    fill = session.remote.get_function("tvm.contrib.random.random_fill_for_measure")
    arguments = [tvm.nd.empty(shape, dtype, session.device) for shape, dtype in candidate.arguments]
    for argument in arguments:
        # Memory as it comes may hold denormal numbers, which are slow on many CPUs.
        fill(argument)

    def seconds(number: int, repeat: int, before_each: str = "") -> list[float]:
        evaluator = module.time_evaluator(
            module.entry_name, session.device, number=number, repeat=repeat, f_preproc=before_each
        )
        return [float(value) for value in evaluator(*arguments).results]

    # The first run finds no page of the arguments mapped and no line of the code in a cache.
    (first,) = seconds(number=1, repeat=1)
    if first > LONG_S or (best_s and first > max(SETTLED_S, HOPELESS_FACTOR * best_s)):
        return [first]
    glance = seconds(number=max(1, math.ceil(GLANCE_S / first)), repeat=2)
    if best_s is not None and min(glance) > HOPELESS_FACTOR * best_s:
        return [min(glance)]
    if flush_cache:
        runs = seconds(number=1, repeat=FLUSHED_RUNS, before_each="cache_flush_cpu_non_first_arg")
        return [median(runs)]
    return seconds(number=max(1, math.ceil(MIN_REPEAT_S / min(glance))), repeat=REPEATS)
