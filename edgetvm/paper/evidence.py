"""What was built and measured here, target by target: all that a comparison is made of."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from edgetvm.errors import UsageError, did_you_mean
from edgetvm.layer_profile import LayerProfile, latest_profile
from edgetvm.manifest import bundles_by_model, read_manifest
from edgetvm.measurement import Run, list_runs
from edgetvm.modelled import ModelledLatency, latest_modelled
from edgetvm.paths import DataFolders
from edgetvm.recipe import FLOAT32, Precision
from edgetvm.records.store import MODELLED
from edgetvm.target_profile import target_argument


class NetworkEvidence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One network's bundle, and what came of it on devices.

    Attributes
    ----------
    parameters, multiply_adds, library_bytes, precision : of the bundle.
    runs : in any order.
    profile : the newest; None if it was not profiled.
    modelled : the newest estimate of a cycle model; None without.
    """

    model: str
    parameters: int
    multiply_adds: int
    library_bytes: int
    precision: Precision = FLOAT32
    runs: tuple[Run, ...] = ()
    profile: LayerProfile | None = None
    modelled: ModelledLatency | None = None


class TargetEvidence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The networks that were built for one target.

    Attributes
    ----------
    argument : what ``--target`` takes for it: its name, or ``host`` without a profile of its own.
    networks : by model.
    """

    target: str
    argument: str
    networks: dict[str, NetworkEvidence]

    @property
    def runs(self) -> tuple[Run, ...]:
        """All runs of all networks."""
        return tuple(run for network in self.networks.values() for run in network.runs)


def newest_runs(runs: Iterable[Run]) -> list[Run]:
    """Return the newest run of each network in each setting, by setting and model.

    Runs on an emulated device are left out: they say nothing of a latency.
    """
    by_time = sorted(runs, key=lambda run: run.measured_at)
    newest = {(setting(run), run.model): run for run in by_time if not run.device.emulated}
    return [newest[key] for key in sorted(newest)]


def setting(run: Run) -> tuple[str, str, int]:
    """Return what two runs must share to be compared: target, CPU, threads."""
    # Not the host's name: in containers it changes from one start to the next.
    return (run.target, run.device.processor, run.tuned.threads)


def read_evidence(folders: DataFolders, target: str | None = None) -> list[TargetEvidence]:
    """Read what was built and measured for `target`, for every target if it is None.

    Raises
    ------
    UsageError
        Nothing was built for `target`, or a bundle comes from another version of edgetvm.
    """
    folders_there = [path.name for path in folders.bundles.glob("*") if path.is_dir()]
    targets = sorted({name.removesuffix(MODELLED) for name in folders_there})
    if target is not None:
        target = target.removesuffix(MODELLED)
        if target not in targets:
            raise UsageError(
                f"Nothing was built for the target {target!r}: {did_you_mean(target, targets)}"
            )
        targets = [target]
    return [
        TargetEvidence(
            target=name,
            argument=target_argument(name, folders.profiles),
            networks={
                network.model: network
                for network in map(_read_bundle, bundles_by_model(folders.bundles, name).values())
            },
        )
        for name in targets
    ]


def _read_bundle(bundle: Path) -> NetworkEvidence:
    manifest = read_manifest(bundle, check_files=False)
    return NetworkEvidence(
        model=manifest.model,
        parameters=manifest.parameters,
        multiply_adds=manifest.multiply_adds,
        library_bytes=manifest.tuned.size_bytes,
        precision=manifest.precision,
        runs=tuple(list_runs(bundle)),
        profile=latest_profile(bundle),
        modelled=latest_modelled(bundle),
    )
