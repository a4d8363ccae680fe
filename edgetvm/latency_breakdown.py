"""What tuning promised of a network's latency, and what the device said of it."""

import msgspec


class LatencyBreakdown(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The latency that tuning promised, and what the device said when the bundle was built.

    Attributes
    ----------
    estimate_s : sum of the tasks' best times, each as often as it runs, alone. None if a task has
        no record.
    estimate_flushed : whether these were measured with a flushed cache, not a warm one.
    task_operators_s : the same operators within the network.
    layout_transforms, layout_transforms_s : operators that only change a layout, and their time.
    other_operators, other_operators_s : the rest of the operators that have no task.
    tuned_s, untuned_s : median latency of the tuned library and of TVM's default schedules.
    """

    estimate_s: float | None
    estimate_flushed: bool = False
    task_operators_s: float
    layout_transforms: int
    layout_transforms_s: float
    other_operators: int
    other_operators_s: float
    tuned_s: float
    untuned_s: float

    @property
    def task_share(self) -> float:
        """Part of the operators' time that those with a task take, 0 to 1."""
        operators_s = self.task_operators_s + self.layout_transforms_s + self.other_operators_s
        return self.task_operators_s / operators_s

    @property
    def is_faster_tuned(self) -> bool:
        """Whether tuning paid."""
        return self.tuned_s <= self.untuned_s
