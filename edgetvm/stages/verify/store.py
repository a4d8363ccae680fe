"""A store's records, chosen and verified on a device."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from edgetvm.errors import NumericsError, RecordError
from edgetvm.host_cpu import usable_cores
from edgetvm.records import RecordStore, Workload
from edgetvm.records.summary import by_workload, fastest
from edgetvm.stages.device.choice import device_at
from edgetvm.stages.device.fitting import open_for_target
from edgetvm.stages.device.session import describe_device
from edgetvm.stages.verify.verification import Outcome, Verdict, Verifier
from edgetvm.target_profile import TargetProfile

Groups = list[tuple[Workload, list[str]]]


def choose_records(store: RecordStore, *, every: bool) -> tuple[Groups, list[str]]:
    """Return the records to verify by workload, and the keys of workloads without a definition.

    Parameters
    ----------
    every : all valid records; otherwise the best of each workload.

    Raises
    ------
    RecordError
        A file of the store cannot be read.
    """
    workloads, choices = store.workloads.read(), store.choices.read()
    groups: Groups = []
    undefined = []
    for key, records in by_workload(store.read_records()).items():
        valid = fastest(records)
        if valid and key not in workloads:
            undefined.append(key)
        elif valid:
            chosen = [one for one in valid if every or one.digest == choices.get(key)]
            texts = dict.fromkeys(one.text for one in [*valid[:1], *chosen])
            groups.append((workloads[key], list(texts)))
    return groups, undefined


def verify_records(
    groups: Groups, profile: TargetProfile, threads: int, rpc: str | None
) -> Iterator[Verdict]:
    """Yield a verdict on each record, in order.

    Parameters
    ----------
    rpc : ``HOST[:PORT]`` of the device, None for this machine.

    Raises
    ------
    DeviceError
        The device does not fit the target, cannot be reached, or is lost.
    """
    try:
        with device_at(rpc) as device:
            address = replace(device, opencl=profile.gpu is not None)
            open_for_target(address, describe_device(address), profile, threads)
            with Verifier(address, threads, profile.tvm_target, usable_cores()) as verifier:
                yield from verifier.verify(groups)
    except SystemError as err:
        # What Ctrl-C becomes in the middle of a call into TVM.
        if isinstance(err.__cause__, KeyboardInterrupt):
            raise KeyboardInterrupt from err
        raise


def raise_unless_right(verdicts: Iterable[Verdict], undefined: int) -> None:
    """Raise what the worst of `verdicts` stands for.

    Parameters
    ----------
    undefined : workloads without a definition.

    Raises
    ------
    NumericsError
        A record computes something else than its workload.
    RecordError
        A record cannot be rebuilt or judged, or a workload has no definition.
    """
    counts = Counter(verdict.outcome for verdict in verdicts)
    remedy = "Each is named above; --drop moves such records away."
    if counts[Outcome.WRONG]:
        raise NumericsError(f"{counts[Outcome.WRONG]} records compute something wrong. {remedy}")
    if counts[Outcome.NOT_REBUILT]:
        raise RecordError(f"{counts[Outcome.NOT_REBUILT]} records cannot be rebuilt. {remedy}")
    if counts[Outcome.NOT_JUDGED]:
        raise RecordError(
            f"{counts[Outcome.NOT_JUDGED]} records could not be judged. The reasons are above; if "
            "it is the definition, move workloads.jsonl away and tune a model that has it."
        )
    if undefined:
        raise RecordError(
            f"The records of {undefined} workloads without a definition were not verified. Tune a "
            "model that has them, with --trials 1, which adds it, and verify again."
        )
