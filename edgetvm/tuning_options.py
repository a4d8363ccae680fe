"""What a tuning run is asked for."""

from pathlib import Path

import msgspec

from edgetvm.manifest import AUTO_SCHEDULER

BEST = "best"
"""Both tuners: each task's trials go to the one that gains, and the faster schedule is taken."""


class TuneOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of one run; None means the recipe's or the profile's value."""

    model: str
    target: str
    trials: int | None = None
    budget_s: float | None = None
    threads: int | None = None
    rpc: str | None = None
    token: str | None = None
    tracker: str | None = None
    key: str | None = None
    cores: str = ""
    weights: Path | None = None
    weights_from: str | None = None
    input_shape: tuple[int, ...] | None = None
    flush_cache: bool = False
    drop_bad_records: bool = False
    tuner: str = AUTO_SCHEDULER

    def uses(self, tuner: str) -> bool:
        """Whether `tuner` searches, and its schedules go into the bundle."""
        return self.tuner in (tuner, BEST)
