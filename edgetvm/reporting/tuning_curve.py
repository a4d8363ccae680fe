"""How a network's estimate fell while its tasks were tuned, from their records."""

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from edgetvm.manifest import TaskSummary
from edgetvm.records.line import RecordLine


class TuningCurve(msgspec.Struct, frozen=True, kw_only=True):
    """The estimate of a network after each trial that changed it.

    Attributes
    ----------
    trials : trials of its tasks until then, failed ones too. The first is the one with which every
        task had a record.
    estimates_s : the tasks' best times, each as often as the network runs it.
    all_trials : of the network's tasks.
    """

    trials: tuple[int, ...]
    estimates_s: tuple[float, ...]
    all_trials: int


def tuning_curve(tasks: Sequence[TaskSummary], records: Iterable[RecordLine]) -> TuningCurve | None:
    """Follow the estimate through `records`, in the order in which they were measured.

    Returns
    -------
    None if a task has no valid record, so that there is no estimate.
    """
    counts = Counter[str]()
    for task in tasks:
        counts[task.workload_key] += task.count
    own = sorted(
        (record for record in records if record.workload_key in counts),
        key=lambda record: record.measured_at_s,
    )
    best_s: dict[str, float] = {}
    points: list[tuple[int, float]] = []
    for trial, record in enumerate(own, start=1):
        seconds, key = record.seconds, record.workload_key
        if seconds is None or seconds >= best_s.get(key, float("inf")):
            continue
        best_s[key] = seconds
        if len(best_s) == len(counts):
            points.append((trial, sum(counts[key] * best_s[key] for key in counts)))
    if not points:
        return None
    trials, estimates_s = zip(*points, strict=True)
    return TuningCurve(trials=trials, estimates_s=estimates_s, all_trials=len(own))
