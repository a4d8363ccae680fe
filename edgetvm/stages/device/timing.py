"""Timing several ways to run one network side by side."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgetvm.stages.device.library import RemoteLibrary

MIN_SAMPLE_S = 0.02
"""Shortest time over which one sample is averaged."""


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
    """Seconds of one inference, sample by sample, and the inferences in each."""

    samples_s: tuple[float, ...]
    number: int


def time_interleaved(contenders: Mapping[str, Contender], rounds: int) -> dict[str, Samples]:
    """Time all `contenders` in turn, `rounds` times over.

    In turn, so that a change of the clock or of the load meets all alike. A first sample of each
    is thrown away: it warms up and tells how many inferences fill a sample.
    """
    numbers = {}
    for name, contender in contenders.items():
        contender.sample_s(1)
        numbers[name] = max(1, round(MIN_SAMPLE_S / contender.sample_s(1)))
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            samples[name].append(contender.sample_s(numbers[name]))
    return {name: Samples(tuple(samples[name]), numbers[name]) for name in contenders}
