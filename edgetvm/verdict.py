"""Whether a measured latency can be trusted: a word for it, and a sentence that says why.

The same rules for every measurement; the thresholds stand here. What a device did to itself
(throttling) and what others did to it (load) come first, for there the samples may look fine.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Literal, get_args

import msgspec
import numpy as np

from edgetvm.device_state import DeviceState

Kind = Literal["valid", "noisy", "drifting", "throttled", "emulated"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""From the best to the worst."""

OTHERS_BUSY = 0.25
"""Cores that other programs may keep busy: an idle desktop takes about a tenth of that."""

INTERVAL_WIDTH = 0.10
"""Widest interval of a median that is no noise, as part of the median."""

DRIFT, DRIFT_P = 0.05, 0.01
"""Change from the first sample to the last, as part of the median, that counts as drift if chance
alone brings such a trend (Kendall's tau) less often than `DRIFT_P`."""

SMALLEST_MODE = 0.2
"""Part of the samples that makes a second mode; fewer are stragglers, which p99 shows."""

MODES_APART = 0.05
"""Distance of two modes' medians that matters, as part of the median of all."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to think of a measurement; `reason` is empty if it is valid."""

    kind: Kind
    reason: str = ""

    def __str__(self) -> str:
        """Kind and reason: ``noisy: other programs kept 1.9 cores busy``."""
        return f"{self.kind}: {self.reason}" if self.reason else self.kind


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """What surrounded a measurement.

    Attributes
    ----------
    emulated : by what; empty on a real machine.
    before, after : the device's state.
    others_busy : cores that other programs kept busy meanwhile, on average; None if unknown.
    """

    emulated: str
    before: DeviceState
    after: DeviceState
    others_busy: float | None


def judge(
    samples_s: Sequence[float],
    interval_s: tuple[float, float],
    conditions: Conditions,
    *,
    has_settled: bool,
) -> Verdict:
    """Return the first thing to be said against a measurement: a cause before its effects.

    Parameters
    ----------
    samples_s : in the order in which they were taken.
    interval_s : of their median.
    has_settled : whether the warm-up reached a steady time.
    """
    against = chain(
        _against_conditions(conditions), _against_samples(samples_s, interval_s, has_settled)
    )
    return next(against, Verdict(kind="valid"))


def _against_conditions(conditions: Conditions) -> Iterator[Verdict]:
    if conditions.emulated:
        yield Verdict(kind="emulated", reason=f"by {conditions.emulated}")
    if reasons := slowed_down_by(conditions.before, conditions.after):
        yield Verdict(kind="throttled", reason=reasons)
    busy = conditions.others_busy
    if busy is not None and busy > OTHERS_BUSY:
        yield Verdict(kind="noisy", reason=f"other programs kept {busy:.1f} cores busy")


def _against_samples(
    samples_s: Sequence[float], interval_s: tuple[float, float], has_settled: bool
) -> Iterator[Verdict]:
    if abs(change := drift(samples_s)) > DRIFT:
        yield Verdict(kind="drifting", reason=f"by {change:+.0%} from first to last sample")
    if not has_settled:
        yield Verdict(kind="noisy", reason="the warm-up reached no steady time")
    if modes := two_modes_s(samples_s):
        fast, slow = (f"{mode * 1e3:.3g}" for mode in modes)
        yield Verdict(kind="noisy", reason=f"two modes, at {fast} and {slow} ms")
    width = (interval_s[1] - interval_s[0]) / float(np.median(samples_s))
    if width > INTERVAL_WIDTH:
        yield Verdict(kind="noisy", reason=f"the median's interval is {width:.0%} wide")


def drift(samples_s: Sequence[float]) -> float:
    """Return the change from the first sample to the last as part of the median.

    By Theil and Sen's slope, which stragglers do not move; 0 where chance explains the trend.
    """
    from scipy.stats import kendalltau, theilslopes

    if len(samples_s) < 3 or len(set(samples_s)) == 1:
        return 0.0
    places = np.arange(len(samples_s))
    if not kendalltau(places, samples_s).pvalue < DRIFT_P:
        return 0.0
    slope_s = float(theilslopes(samples_s, places).slope)
    return slope_s * (len(samples_s) - 1) / float(np.median(samples_s))


def two_modes_s(samples_s: Sequence[float]) -> tuple[float, float] | None:
    """Return the medians of two separate groups of samples, None if they are one.

    Separate are groups with a gap between them that is wider than either, as clocks that switch or
    threads that move to another kind of core leave them.
    """
    ordered = np.sort(samples_s)
    fewest = max(2, round(SMALLEST_MODE * len(ordered)))
    if len(ordered) < 2 * fewest:
        return None
    gaps = np.diff(ordered)[fewest - 1 : len(ordered) - fewest]
    split = int(np.argmax(gaps)) + fewest
    fast, slow = ordered[:split], ordered[split:]
    modes = float(np.median(fast)), float(np.median(slow))
    is_apart = slow[0] - fast[-1] > max(np.ptp(fast), np.ptp(slow))
    return modes if is_apart and modes[1] - modes[0] > MODES_APART * np.median(ordered) else None


def slowed_down_by(before: DeviceState, after: DeviceState) -> str:
    """Return what slowed the device down around a measurement, or between its two states."""
    reasons = dict.fromkeys((*before.throttled, *after.throttled))
    if reasons:
        return ", ".join(reasons)
    if before.throttle_events is None or after.throttle_events is None:
        return ""
    events = after.throttle_events - before.throttle_events
    return f"the CPU throttled itself {events} times" if events > 0 else ""
