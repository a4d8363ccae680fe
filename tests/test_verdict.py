"""Verdicts on planted series of samples and states of devices."""

from dataclasses import dataclass

import msgspec
import numpy as np
import pytest

from edgetvm.device_state import DeviceState
from edgetvm.measurement import Measurement
from edgetvm.verdict import KINDS, Conditions, Verdict, drift, judge, two_modes_s
from tests.planted import STATE

RNG = np.random.default_rng(1)
STEADY = tuple(10e-3 * (1 + 0.005 * RNG.standard_normal(20)))


@dataclass(frozen=True)
class Surroundings:
    """How the planted samples came about; a quiet machine unless told otherwise."""

    emulated: str = ""
    before: DeviceState = STATE
    after: DeviceState = STATE
    others_busy: float | None = 0.02
    has_settled: bool = True


def verdict(samples_s: tuple[float, ...], given: Surroundings = Surroundings()) -> Verdict:
    measurement = Measurement(samples_s=samples_s, number=1, threads=1, runtime="TVM")
    conditions = Conditions(
        emulated=given.emulated,
        before=given.before,
        after=given.after,
        others_busy=given.others_busy,
    )
    return judge(samples_s, measurement.interval_s(), conditions, has_settled=given.has_settled)


def test_steady_samples_on_a_quiet_machine_are_valid() -> None:
    assert str(verdict(STEADY)) == "valid"
    assert verdict(STEADY, Surroundings(others_busy=None)).kind == "valid"
    assert verdict((0.01,) * 5).kind == "valid"


@pytest.mark.parametrize("seed", range(20))
def test_ordinary_spread_is_neither_drift_nor_two_modes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for samples_s in (
        10e-3 * (1 + 0.02 * rng.standard_normal(20)),
        10e-3 * rng.uniform(0.95, 1.05, 20),
        10e-3 * (1 + rng.exponential(0.02, 20)),
    ):
        assert two_modes_s(list(samples_s)) is None
        assert abs(drift(list(samples_s))) <= 0.05


THROTTLED = msgspec.structs.replace(STATE, throttled=("under-voltage",))
HEATED = Surroundings(
    before=msgspec.structs.replace(STATE, throttle_events=3),
    after=msgspec.structs.replace(STATE, throttle_events=5),
)


@pytest.mark.parametrize(
    ("samples_s", "given", "expected"),
    [
        (STEADY, Surroundings(emulated="QEMU"), "emulated: by QEMU"),
        (STEADY, Surroundings(before=THROTTLED), "throttled: under-voltage"),
        (STEADY, Surroundings(after=THROTTLED), "throttled: under-voltage"),
        (STEADY, HEATED, "throttled: the CPU throttled itself 2 times"),
        (STEADY, Surroundings(others_busy=1.9), "noisy: other programs kept 1.9 cores busy"),
        (STEADY, Surroundings(has_settled=False), "noisy: the warm-up reached no steady time"),
        (
            tuple(np.linspace(10e-3, 12e-3, 20)),
            Surroundings(),
            "drifting: by +18% from first to last sample",
        ),
        (
            tuple(np.where(np.arange(20) % 3 == 0, 15e-3, 10e-3) * np.array(STEADY) * 100),
            Surroundings(),
            "noisy: two modes, at 10 and 15 ms",
        ),
    ],
)  # fmt: skip
def test_what_spoils_a_measurement_is_said(
    samples_s: tuple[float, ...], given: Surroundings, expected: str
) -> None:
    found = verdict(samples_s, given)
    assert str(found) == expected
    assert found.kind in KINDS


def test_a_wide_interval_is_noise() -> None:
    wide = tuple(10e-3 * np.exp(0.5 * np.random.default_rng(3).standard_normal(20)))
    assert "the median's interval is" in verdict(wide).reason


def test_a_straggler_spoils_nothing_and_shows_in_the_percentiles() -> None:
    samples_s = (*STEADY[:-1], 0.05)
    measurement = Measurement(samples_s=samples_s, number=1, threads=1, runtime="TVM")
    assert verdict(samples_s).kind == "valid"
    assert measurement.percentile_s(99) > 0.03
    assert measurement.minimum_s == min(STEADY[:-1])
    assert measurement.mad_s < 1e-4


def test_a_single_change_of_the_clock_is_no_steady_state() -> None:
    slower = (*STEADY[:10], *(1.3 * sample for sample in STEADY[10:]))
    assert verdict(slower).kind in ("drifting", "noisy")
