"""Timing several ways to run one network side by side."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import TypeVar

from edgetvm.stages.device.library import RemoteLibrary

Key = TypeVar("Key")

MIN_SAMPLE_S = 0.02
"""Shortest time over which one sample is averaged."""

WARM_UP_S = 3.0
"""Longest warm-up of one contender."""

WINDOW, STEADY = 3, 0.03
"""A time is steady when the medians of two windows of so many samples differ by no more."""


@dataclass(frozen=True)
class Contender:
    """One way to run the network.

    Attributes
    ----------
    sample_s : given a number of inferences, runs them and returns the seconds of one.
    """

    sample_s: Callable[[int], float]

    @classmethod
    def of_library(cls, library: RemoteLibrary) -> "Contender":
        """Run the library on its device; its input must have been set."""
        return cls(library.sample_s)

    @classmethod
    def of_callable(cls, infer: Callable[[], object]) -> "Contender":
        """Run `infer` in this process."""

        def sample_s(number: int) -> float:
            started_s = time.perf_counter()
            for _ in range(number):
                infer()
            return (time.perf_counter() - started_s) / number

        return cls(sample_s)


@dataclass(frozen=True)
class Samples:
    """Seconds of one inference, sample by sample, and the inferences in each.

    Attributes
    ----------
    warm_up : inferences before the first sample.
    has_settled : whether the warm-up reached a steady time.
    """

    samples_s: tuple[float, ...]
    number: int
    warm_up: int = 0
    has_settled: bool = True


def time_interleaved(contenders: Mapping[Key, Contender], rounds: int) -> dict[Key, Samples]:
    """Warm all `contenders` up, then time them in turn, `rounds` times over.

    In turn, so that a change of the clock or of the load meets all alike.
    """
    warm = {name: warm_up(contender) for name, contender in contenders.items()}
    samples: dict[Key, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            samples[name].append(contender.sample_s(warm[name].number))
    return {name: replace(warm[name], samples_s=tuple(samples[name])) for name in contenders}


def warm_up(contender: Contender) -> Samples:
    """Run `contender` until two windows of samples agree, or for `WARM_UP_S`; return no samples.

    How long a device takes to a steady time differs: caches fill at once, clocks rise within
    milliseconds, and a governor takes its time.
    """
    contender.sample_s(1)
    first_s = contender.sample_s(1)
    number = max(1, round(MIN_SAMPLE_S / first_s))
    taken_s = [first_s]
    while True:
        taken_s.append(contender.sample_s(number))
        inferences = 2 + number * (len(taken_s) - 1)
        before, last = taken_s[-2 * WINDOW : -WINDOW], taken_s[-WINDOW:]
        if len(before) == WINDOW and abs(median(last) / median(before) - 1) <= STEADY:
            return Samples((), number, inferences, has_settled=True)
        if len(before) == WINDOW and sum(taken_s) * number > WARM_UP_S:
            return Samples((), number, inferences, has_settled=False)
