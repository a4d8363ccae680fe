"""What a GPU's driver may have got wrong: each winning schedule is judged on the device first.

Drivers skip kernels that they do not like, and compile others wrongly; both look fast.
"""

from collections.abc import Callable, Collection

from edgetvm.errors import NumericsError
from edgetvm.host_cpu import usable_cores
from edgetvm.records import RecordStore, Workload
from edgetvm.stages.device.session import Address
from edgetvm.stages.verify.store import choose_records
from edgetvm.stages.verify.verification import Outcome, Verdict, Verifier
from edgetvm.target_profile import TargetProfile


def reject_bad_winners(
    address: Address,
    store: RecordStore,
    workload_keys: Collection[str],
    profile: TargetProfile,
    note: Callable[[str], None],
) -> int:
    """Verify the records that a library of these workloads would be built with.

    A bad one is moved to the store's rejected lines, and the next best is verified in its place,
    until all are right. Return how many were verified.

    Parameters
    ----------
    note : told of each bad one.

    Raises
    ------
    DeviceError
        The device is lost.
    NumericsError
        A record cannot be judged.
    """
    right: set[str] = set()
    with Verifier(address, store.threads, profile.tvm_target, usable_cores()) as verifier:
        while groups := _winners(store, workload_keys, right):
            verdicts = list(verifier.verify(groups))
            _raise_if_not_judged(verdicts)
            bad = [verdict for verdict in verdicts if verdict.is_bad]
            for verdict in bad:
                note(f"{verdict.workload.description}: its best is no good: {verdict.reason}")
            _reject(store, {verdict.line for verdict in bad})
            right |= {verdict.line for verdict in verdicts if verdict.is_right}
    return len(right)


def _winners(
    store: RecordStore, workload_keys: Collection[str], known: Collection[str]
) -> list[tuple[Workload, list[str]]]:
    """Return the records that would be taken now, less those that are `known` to be right."""
    chosen, _ = choose_records(store, every=False)
    groups = [
        (workload, [line for line in lines if line not in known])
        for workload, lines in chosen
        if workload.key in workload_keys
    ]
    return [(workload, lines) for workload, lines in groups if lines]


def _reject(store: RecordStore, bad: Collection[str]) -> None:
    store.edit(lambda lines: [line for line in lines if line not in bad], reject=True)


def _raise_if_not_judged(verdicts: list[Verdict]) -> None:
    for verdict in verdicts:
        if verdict.outcome is Outcome.NOT_JUDGED:
            raise NumericsError(
                f"{verdict.workload.description} cannot be judged on the device "
                f"({verdict.reason}), and no GPU's kernel goes into a bundle unjudged. Report this "
                "with the model's name."
            )
