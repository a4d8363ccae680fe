"""Which lines of a store can go."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from edgetvm.records.line import RecordLine, parse_line
from edgetvm.records.summary import by_workload, fastest


def compact(
    lines: list[str],
    keep: int | None = None,
    spread: int = 0,
    choices: Mapping[str, str] = MappingProxyType({}),
) -> list[str]:
    """Return what is worth keeping of record `lines`, in their order.

    Of records with one workload and one schedule the fastest stays, or the last if all failed.

    Parameters
    ----------
    keep : keep this many of the fastest of each workload and no failed ones; None keeps all.
    spread : with `keep`, keep this many of the others too, evenly over their times, from which
        a cost model learns what is slow.
    choices : digests of schedules that stay whatever their place, by workload key.
    """
    records = distinct(map(parse_line, lines))
    if keep is not None:
        chosen = [one for one in records if choices.get(one.workload_key) == one.digest]
        records = chosen + [
            record
            for group in by_workload(records).values()
            for record in _thinned(fastest(group), keep, spread)
        ]
    staying = {record.text for record in records}
    return [line for line in dict.fromkeys(lines) if line in staying]


def distinct(records: Iterable[RecordLine]) -> list[RecordLine]:
    """Of records with one workload and one schedule, return the fastest, or the last failed."""
    chosen: dict[tuple[str, bytes], RecordLine] = {}
    for record in records:
        known = chosen.get(record.identity)
        if known is None or known.seconds is None or _is_faster(record, known.seconds):
            chosen[record.identity] = record
    return list(chosen.values())


def _is_faster(record: RecordLine, seconds: float) -> bool:
    return record.seconds is not None and record.seconds < seconds


def _thinned(ordered: list[RecordLine], keep: int, spread: int) -> list[RecordLine]:
    rest = ordered[keep:]
    if len(rest) <= spread:
        return ordered
    evenly = [rest[(place + 1) * len(rest) // spread - 1] for place in range(spread)]
    return ordered[:keep] + evenly
