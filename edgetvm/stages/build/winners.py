"""Which tuner's schedule each task gets: the faster one's."""

from collections.abc import Mapping
from dataclasses import dataclass

from edgetvm.manifest import AUTO_SCHEDULER, METASCHEDULE
from edgetvm.records.metaschedule_store import MetaScheduleRecord


@dataclass(frozen=True)
class Winner:
    """The tuner of a task's fastest schedule, and that schedule's time in seconds."""

    tuner: str
    seconds: float


def choose_winners(
    auto_scheduler_s: Mapping[str, float], metaschedule: Mapping[str, MetaScheduleRecord]
) -> dict[str, Winner]:
    """Return the winner of each task that has a record, by AutoScheduler's key; it wins a draw.

    Parameters
    ----------
    auto_scheduler_s : AutoScheduler's best time of each task, seconds.
    metaschedule : MetaSchedule's fastest record of each task.
    """
    winners = {key: Winner(AUTO_SCHEDULER, s) for key, s in auto_scheduler_s.items()}
    for key, record in metaschedule.items():
        ours = winners.get(key)
        if record.seconds is not None and (ours is None or record.seconds < ours.seconds):
            winners[key] = Winner(METASCHEDULE, record.seconds)
    return winners
