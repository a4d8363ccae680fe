"""Timing the contenders in turn."""

from collections.abc import Mapping
from typing import Protocol

from edgetvm.stages.device.timing import Samples
from peers.contender import ContenderError

MIN_SAMPLE_S = 0.1
"""Shortest time over which one sample is averaged."""


class Sampler(Protocol):
    """What can be timed."""

    def sample_s(self, number: int) -> float:
        """Return the seconds of one inference, as the mean of `number`."""


def time_in_rounds(
    contenders: Mapping[str, Sampler], rounds: int
) -> tuple[dict[str, Samples], dict[str, str]]:
    """Take a sample of each contender a round; return the samples, and who dropped out why.

    Each round begins with another contender, so that none always follows the same one. A sample
    before the first round tells how many inferences fill one.
    """
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    numbers: dict[str, int] = {}
    reasons: dict[str, str] = {}
    names = list(contenders)
    for index in range(-1, rounds):
        first = index % max(1, len(names))
        for name in names[first:] + names[:first]:
            if name in reasons:
                continue
            try:
                sample_s = contenders[name].sample_s(numbers.get(name, 1))
            except ContenderError as err:
                reasons[name] = str(err)
                continue
            if index < 0:
                numbers[name] = max(1, round(MIN_SAMPLE_S / sample_s))
            else:
                samples[name].append(sample_s)
    timed = {
        name: Samples(tuple(samples[name]), numbers[name]) for name in names if name not in reasons
    }
    return timed, reasons
