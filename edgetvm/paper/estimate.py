"""Medians of measured latencies and their ratios, with bootstrap intervals."""

import msgspec
import numpy as np

from edgetvm.measurement import Measurement

CONFIDENCE = 0.95
"""Confidence level of every interval that is shown."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A measured value with its 95 % bootstrap interval, all three in the same unit."""

    value: float
    low: float
    high: float


def estimate_median(measurement: Measurement) -> Estimate:
    """Return the median latency, seconds."""
    low, high = measurement.interval_s(CONFIDENCE)
    return Estimate(value=measurement.median_s, low=low, high=high)


def estimate_ratio(numerator: Measurement, denominator: Measurement) -> Estimate:
    """Return the ratio of two median latencies, resampled and seeded.

    Measurements that were taken in turn are resampled by rounds, so that a clock that changed for
    both does not widen the interval; others each on its own.
    """
    from scipy.stats import bootstrap

    result = bootstrap(
        (np.asarray(numerator.samples_s), np.asarray(denominator.samples_s)),
        _ratio_of_medians,
        paired=numerator.was_timed_with(denominator),
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return Estimate(
        value=numerator.median_s / denominator.median_s,
        low=float(result.confidence_interval.low),
        high=float(result.confidence_interval.high),
    )


def _ratio_of_medians(
    numerator: np.ndarray, denominator: np.ndarray, axis: int = -1
) -> np.ndarray | float:
    ratio: np.ndarray | float = np.median(numerator, axis) / np.median(denominator, axis)
    return ratio
