"""Medians of measured latencies and their ratios, with bootstrap intervals."""

from functools import cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgetvm.measurement import Measurement

CONFIDENCE = 0.95
"""Confidence level of every interval that is shown."""

RESAMPLES = 9999


class Estimate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A measured value with its 95 % bootstrap interval, all three in the same unit."""

    value: float
    low: float
    high: float


@cache
def estimate_median(measurement: Measurement) -> Estimate:
    """Return the median latency, seconds."""
    low, high = measurement.interval_s(CONFIDENCE)
    return Estimate(value=measurement.median_s, low=low, high=high)


def estimate_ratio(numerator: Measurement, denominator: Measurement) -> Estimate:
    """Return the ratio of two median latencies, resampled and seeded.

    Measurements that were taken in turn are resampled by rounds, so that a clock that changed for
    both does not widen the interval; others each on its own.
    """
    paired = numerator.was_timed_with(denominator)
    above = _resampled_medians_s(numerator.samples_s, 0)
    below = _resampled_medians_s(denominator.samples_s, 0 if paired else 1)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(above / below, (tail, 100 - tail))
    return Estimate(
        value=numerator.median_s / denominator.median_s, low=float(low), high=float(high)
    )


@cache
def _resampled_medians_s(samples_s: tuple[float, ...], seed: int) -> NDArray[np.float64]:
    """Return medians of resamples; with one seed, those of as many samples are of the same rounds.

    SciPy's bootstrap would do this anew for each of the many pairs that a measurement is in.
    """
    size = (RESAMPLES, len(samples_s))
    rounds = np.random.default_rng(seed).integers(len(samples_s), size=size)
    return np.asarray(np.median(np.asarray(samples_s)[rounds], axis=1))
